//! Names of devices, parsed once.

use burn::tensor::Device;

/// The names that [`parse`] takes, as a sentence has them.
pub const NAMES: &str = "cpu, wgpu, vulkan or cuda (with an index as in cuda:1)";

/// Why a text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No backend has that name.
    #[error("device: found `{found}`, expected {NAMES}")]
    Unknown {
        /// The text.
        found: String,
    },

    /// What stands behind the colon is no number.
    #[error("device: found index `{index}` in `{found}`, expected a number as in {kind}:0")]
    Index {
        /// The text.
        found: String,
        /// Its backend.
        kind: String,
        /// What stands behind the colon.
        index: String,
    },

    /// The program was built without the backend.
    #[error(
        "device: this program was built without {feature}; build it with `cargo build --release --package \
         diffprune-cli --features {feature}`"
    )]
    Absent {
        /// The cargo feature that brings it.
        feature: &'static str,
    },

    /// The driver lists no such device; the text says what it lists.
    #[error("{0}")]
    NotFound(String),
}

/// The device of that name.
///
/// # Errors
/// When the name is unknown, the backend is not compiled in, or no driver or adapter is found.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => match index.parse::<usize>() {
            Ok(index) => (kind, Some(index)),
            Err(_) => {
                return Err(DeviceError::Index {
                    found: name.into(),
                    kind: kind.into(),
                    index: index.into(),
                });
            }
        },
        None => (name, None),
    };
    match kind {
        "cpu" if index.is_none() => Ok(Device::flex()),
        "wgpu" => wgpu(index),
        "vulkan" => vulkan(index),
        "cuda" => cuda(index),
        _ => Err(DeviceError::Unknown { found: name.into() }),
    }
}

/// The names in a list of devices such as `cuda:0,cuda:1`; at least one.
pub fn list(names: &str) -> Vec<&str> {
    names.split(',').map(str::trim).collect()
}

/// True for the CPU.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(not(all(feature = "wgpu", feature = "vulkan", feature = "cuda")))]
fn absent(feature: &'static str) -> Result<Device, DeviceError> {
    Err(DeviceError::Absent { feature })
}

#[cfg(feature = "wgpu")]
fn wgpu(index: Option<usize>) -> Result<Device, DeviceError> {
    crate::choice::wgpu(index).map_err(DeviceError::NotFound)
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: Option<usize>) -> Result<Device, DeviceError> {
    absent("wgpu")
}

#[cfg(feature = "vulkan")]
fn vulkan(index: Option<usize>) -> Result<Device, DeviceError> {
    crate::choice::vulkan(index).map_err(DeviceError::NotFound)
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_: Option<usize>) -> Result<Device, DeviceError> {
    absent("vulkan")
}

#[cfg(feature = "cuda")]
fn cuda(index: Option<usize>) -> Result<Device, DeviceError> {
    crate::choice::cuda(index).map_err(DeviceError::NotFound)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: Option<usize>) -> Result<Device, DeviceError> {
    absent("cuda")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{choose, ordered};

    #[test]
    fn the_cpu_is_always_there() {
        assert!(is_cpu(&parse("cpu").unwrap()));
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["gpu", "cpu:0", "cuda:x", ""] {
            assert!(parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn lists_are_split() {
        assert_eq!(list("cuda:0, cuda:1"), ["cuda:0", "cuda:1"]);
        assert_eq!(list(""), [""]);
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

    #[derive(Debug, Clone, PartialEq)]
    enum Adapter {
        Discrete(usize),
        Integrated(usize),
        Software,
        Other,
    }
    use Adapter::{Discrete, Integrated, Other, Software};

    fn preferred() -> Vec<Adapter> {
        vec![Discrete(0), Discrete(1), Integrated(0), Software]
    }

    #[test]
    fn an_index_counts_what_is_there() {
        // A machine without a GPU has its software adapter at 0, one with an integrated GPU that.
        for (found, first) in [
            (vec![Software], Software),
            (vec![Integrated(0)], Integrated(0)),
            (vec![Software, Integrated(0), Discrete(0)], Discrete(0)),
            (vec![Other], Other),
        ] {
            let order = ordered(found, preferred());
            assert_eq!(choose("wgpu", &order, 0), Ok(first));
        }
        let order = ordered(
            vec![Software, Other, Integrated(0), Discrete(1), Discrete(0)],
            preferred(),
        );
        assert_eq!(order, [Discrete(0), Discrete(1), Integrated(0), Software, Other]);
        assert_eq!(choose("wgpu", &order, 3), Ok(Software));
    }

    #[test]
    fn an_index_beyond_names_the_devices_found() {
        let error = choose("vulkan", &[Integrated(0), Software], 2).unwrap_err();
        assert_eq!(
            error,
            "device: found vulkan:0 = Integrated(0), vulkan:1 = Software, expected vulkan:2; use an index of the list or \
             none"
        );
        let error = choose::<Adapter>("cuda", &[], 0).unwrap_err();
        assert!(error.contains("found no driver or adapter for cuda"), "{error}");
    }
}
