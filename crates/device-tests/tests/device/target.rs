//! The device under test.

use std::fmt;

use burn::tensor::{DType, Device, DeviceType};

#[derive(Clone)]
/// A device, the type of its numbers, and how far they may be from the CPU's.
pub struct Target {
    /// The device.
    pub device: Device,
    /// Type of the numbers on the device; the CPU always computes in f32.
    pub dtype: DType,
    name: String,
    /// Whether what is checked multiplies matrices.
    products: bool,
}

impl Target {
    /// What the environment asks for. Drivers are looked for before the first tensor: without one the first use of a
    /// device would end the process.
    pub fn from_env() -> Result<Self, String> {
        let name = std::env::var("DIFFPRUNE_TEST_DEVICE").map_err(|_| {
            "DIFFPRUNE_TEST_DEVICE is not set, wanted wgpu, vulkan or cuda; run `cargo xtask test --device …`"
        })?;
        let (kind, index) = name.split_once(':').unwrap_or((&name, "0"));
        let index: usize = index
            .parse()
            .map_err(|_| format!("device `{name}`: wanted a number after the colon"))?;
        let device = match kind {
            // The checks themselves: the CPU agrees with itself.
            "cpu" => Device::flex(),
            #[cfg(feature = "wgpu")]
            "wgpu" => probed(DeviceType::Wgpu, || Device::wgpu(adapter(index, &name)))?,
            #[cfg(feature = "vulkan")]
            "vulkan" => probed(DeviceType::Vulkan, || Device::vulkan(adapter(index, &name)))?,
            #[cfg(feature = "cuda")]
            "cuda" => probed(DeviceType::Cuda, || Device::cuda(index))?,
            _ => return Err(format!("device `{name}`: not one that this test was built for")),
        };
        let dtype = match std::env::var("DIFFPRUNE_TEST_DTYPE").as_deref() {
            Err(_) | Ok("f32") => DType::F32,
            Ok("f16") => DType::F16,
            Ok("bf16") => DType::BF16,
            Ok(other) => {
                return Err(format!(
                    "DIFFPRUNE_TEST_DTYPE: found `{other}`, wanted f32, f16 or bf16"
                ));
            }
        };
        Ok(Self {
            device,
            dtype,
            name,
            products: false,
        })
    }

    /// The same device with numbers in f32.
    pub fn in_f32(&self) -> Self {
        Self {
            dtype: DType::F32,
            ..self.clone()
        }
    }

    /// The same device, for a check that multiplies matrices.
    pub fn with_products(&self) -> Self {
        Self {
            products: true,
            ..self.clone()
        }
    }

    /// Largest allowed difference of numbers of about unit size: a few thousand roundings of the type.
    pub fn tolerance(&self) -> f32 {
        match self.dtype {
            DType::F16 => 2e-2,
            DType::BF16 => 8e-2,
            // Tensor cores round factors in f32 to TF32: the 10 bits of mantissa of f16, sums in f32.
            DType::F32 if self.products && self.name.starts_with("cuda") => 5e-3,
            _ => 2e-4,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}, against the CPU in F32", self.name, self.dtype)
    }
}

#[cfg(any(feature = "wgpu", feature = "vulkan"))]
fn adapter(index: usize, name: &str) -> burn::tensor::DeviceKind {
    use burn::tensor::DeviceKind::{DefaultDevice, DiscreteGpu};
    if name.contains(':') {
        DiscreteGpu(index)
    } else {
        DefaultDevice
    }
}

fn probed(kind: DeviceType, device: impl FnOnce() -> Device) -> Result<Device, String> {
    if Device::enumerate(kind.clone()).is_empty() {
        return Err(format!(
            "found no driver or adapter for {kind:?}; install one (on Debian `mesa-vulkan-drivers` computes on the CPU)"
        ));
    }
    Ok(device())
}
