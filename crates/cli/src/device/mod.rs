//! Names of devices, parsed once.

#[cfg(any(test, feature = "wgpu", feature = "vulkan", feature = "cuda"))]
mod choice;

use anyhow::bail;
use burn::tensor::Device;

/// What `--device` may say.
pub const NAMES: &str = "cpu, wgpu, vulkan or cuda (with an index as in cuda:1)";

/// The device of that name.
///
/// # Errors
/// When the name is unknown, the backend is not compiled in, or no driver is found.
pub fn parse(name: &str) -> anyhow::Result<Device> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => match index.parse::<usize>() {
            Ok(index) => (kind, Some(index)),
            Err(_) => bail!("device: found index `{index}` in `{name}`, wanted a number as in {kind}:0"),
        },
        None => (name, None),
    };
    match kind {
        "cpu" if index.is_none() => Ok(Device::flex()),
        "wgpu" => wgpu(index),
        "vulkan" => vulkan(index),
        "cuda" => cuda(index),
        _ => bail!("device: found `{name}`, wanted {NAMES}"),
    }
}

/// The names in a list of devices such as `cuda:0,cuda:1`; at least one.
pub fn list(names: &str) -> Vec<&str> {
    names.split(',').map(str::trim).collect()
}

/// What stands for devices in the name of a run: the first where all are of one kind, and so compute alike.
pub fn alike(names: &[&str]) -> String {
    let kind = |name: &&str| name.split(':').next().map(String::from);
    match names {
        [first, others @ ..] if others.iter().all(|name| kind(name) == kind(first)) => first.to_string(),
        _ => names.join(","),
    }
}

/// Whether this is the CPU.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(not(all(feature = "wgpu", feature = "vulkan", feature = "cuda")))]
fn absent(feature: &str) -> anyhow::Result<Device> {
    bail!(
        "device: this program was built without {feature}; build it with `cargo build --release --package \
         diffprune-cli --features {feature}`"
    )
}

/// The device of that index among those of a kind; without an index the one of `default`, if there is any at all.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
fn probed(
    backend: &str,
    found: Vec<Device>,
    index: Option<usize>,
    default: impl FnOnce() -> Device,
) -> anyhow::Result<Device> {
    let device = choice::choose(backend, &found, index.unwrap_or(0)).map_err(anyhow::Error::msg)?;
    Ok(match index {
        Some(_) => device,
        None => default(),
    })
}

/// The adapters that a driver lists, real GPUs first, made by `device`.
#[cfg(any(feature = "wgpu", feature = "vulkan"))]
fn adapters(
    filter: burn::tensor::DeviceType,
    device: impl Fn(burn::tensor::DeviceKind) -> Device,
) -> Vec<Device> {
    use burn::tensor::DeviceKind::{Cpu, DiscreteGpu, IntegratedGpu, VirtualGpu};
    let found = Device::enumerate(filter).into_vec();
    let n = found.len();
    let kinds = [DiscreteGpu, IntegratedGpu, VirtualGpu]
        .into_iter()
        .flat_map(|kind| (0..n).map(kind))
        .chain([Cpu]);
    choice::ordered(found, kinds.map(device))
}

#[cfg(feature = "wgpu")]
fn wgpu(index: Option<usize>) -> anyhow::Result<Device> {
    let found = adapters(burn::tensor::DeviceType::Wgpu, Device::wgpu);
    probed("wgpu", found, index, || Device::wgpu(Default::default()))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: Option<usize>) -> anyhow::Result<Device> {
    absent("wgpu")
}

#[cfg(feature = "vulkan")]
fn vulkan(index: Option<usize>) -> anyhow::Result<Device> {
    let found = adapters(burn::tensor::DeviceType::Vulkan, Device::vulkan);
    probed("vulkan", found, index, || Device::vulkan(Default::default()))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_: Option<usize>) -> anyhow::Result<Device> {
    absent("vulkan")
}

#[cfg(feature = "cuda")]
fn cuda(index: Option<usize>) -> anyhow::Result<Device> {
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    probed("cuda", found, index, || Device::cuda(0))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: Option<usize>) -> anyhow::Result<Device> {
    absent("cuda")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert!(is_cpu(&parse("cpu").unwrap()));
    }

    #[test]
    fn other_names_are_told() {
        for name in ["gpu", "cpu:0", "cuda:x", ""] {
            assert!(parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn devices_of_one_kind_are_one_run() {
        assert_eq!(list("cuda:0, cuda:1"), ["cuda:0", "cuda:1"]);
        assert_eq!(list(""), [""]);
        for (names, wanted) in [
            ("cpu,cpu", "cpu"),
            ("cuda:1,cuda:0", "cuda:1"),
            ("cuda:0,cpu", "cuda:0,cpu"),
            ("cuda:1", "cuda:1"),
        ] {
            assert_eq!(alike(&list(names)), wanted);
        }
        assert!(parse("cpu,cpu").is_err(), "one device at a time");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_backend_names_its_feature() {
        assert!(
            parse("cuda:1")
                .unwrap_err()
                .to_string()
                .contains("--features cuda")
        );
    }
}
