//! One of the devices that a driver lists.

use std::fmt::Debug;

#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
use burn::tensor::{Device, DeviceType};

/// The adapter of that index on the graphics API that is preferred here.
///
/// # Errors
/// As [`choose`].
#[cfg(feature = "wgpu")]
pub fn wgpu(index: Option<usize>) -> Result<Device, String> {
    let found = Device::enumerate(DeviceType::Wgpu).into_vec();
    let preferred = adapters(found.len(), Device::wgpu);
    probed("wgpu", found, preferred, index, || {
        Device::wgpu(Default::default())
    })
}

/// The Vulkan adapter of that index.
///
/// # Errors
/// As [`choose`].
#[cfg(feature = "vulkan")]
pub fn vulkan(index: Option<usize>) -> Result<Device, String> {
    let found = Device::enumerate(DeviceType::Vulkan).into_vec();
    let preferred = adapters(found.len(), Device::vulkan);
    probed("vulkan", found, preferred, index, || {
        Device::vulkan(Default::default())
    })
}

/// The NVIDIA GPU of that index.
///
/// # Errors
/// As [`choose`].
#[cfg(feature = "cuda")]
pub fn cuda(index: Option<usize>) -> Result<Device, String> {
    let found = Device::enumerate(DeviceType::Cuda).into_vec();
    probed("cuda", found, [], index, || Device::cuda(0))
}

/// Every device that an adapter of a driver with `n` of them may be, real GPUs first, made by `device`.
#[cfg(any(feature = "wgpu", feature = "vulkan"))]
fn adapters(n: usize, device: impl Fn(burn::tensor::DeviceKind) -> Device) -> impl Iterator<Item = Device> {
    use burn::tensor::DeviceKind::{Cpu, DiscreteGpu, IntegratedGpu, VirtualGpu};
    let kinds = [DiscreteGpu, IntegratedGpu, VirtualGpu]
        .into_iter()
        .flat_map(move |kind| (0..n).map(kind))
        .chain([Cpu]);
    kinds.map(device)
}

/// The device of that index among those found, the `preferred` ones first; without an index the one of `default`, if there
/// is any at all.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
fn probed(
    backend: &str,
    found: Vec<Device>,
    preferred: impl IntoIterator<Item = Device>,
    index: Option<usize>,
    default: impl FnOnce() -> Device,
) -> Result<Device, String> {
    let device = choose(backend, &ordered(found, preferred), index.unwrap_or(0))?;
    Ok(match index {
        Some(_) => device,
        None => default(),
    })
}

/// The devices in the order in which an index counts them: the `preferred` kinds first, as far as they were found.
pub fn ordered<D: Clone + PartialEq>(found: Vec<D>, preferred: impl IntoIterator<Item = D>) -> Vec<D> {
    let mut order: Vec<D> = preferred
        .into_iter()
        .filter(|device| found.contains(device))
        .collect();
    let others = found.into_iter().filter(|device| !order.contains(device));
    let others: Vec<D> = others.collect();
    order.extend(others);
    order
}

/// The device of that index among those found.
///
/// # Errors
/// When none was found or none has that index; then it says what was found. A device that is first used without being
/// there ends the process, so this must be called before the first tensor.
pub fn choose<D: Clone + Debug>(backend: &str, found: &[D], index: usize) -> Result<D, String> {
    if let Some(device) = found.get(index) {
        return Ok(device.clone());
    }
    if found.is_empty() {
        return Err(format!(
            "device: found no driver or adapter for {backend}; install the driver (on Debian `mesa-vulkan-drivers` \
             computes on the CPU, for wgpu) or use --device cpu"
        ));
    }
    let listed = found.iter().enumerate();
    let listed: Vec<String> = listed
        .map(|(index, device)| format!("{backend}:{index} = {device:?}"))
        .collect();
    Err(format!(
        "device: found {}, expected {backend}:{index}; use an index of the list or none",
        listed.join(", ")
    ))
}
