//! The device under test.

use std::fmt;

use burn::tensor::{DType, Device};

#[derive(Clone)]
/// A device, the type of its numbers, and how far they may be from the CPU's.
pub struct Target {
    /// The device.
    pub device: Device,
    /// Type of the numbers on the device; the CPU always computes in f32.
    pub dtype: DType,
    name: String,
    /// `true` if what is checked multiplies matrices.
    products: bool,
}

impl Target {
    /// The target that the environment names. Drivers are looked for before the first tensor: without one the first use of a
    /// device would end the process.
    pub fn from_env() -> Result<Self, String> {
        let name = std::env::var("DIFFPRUNE_TEST_DEVICE").map_err(|_| {
            "DIFFPRUNE_TEST_DEVICE is not set, expected wgpu, vulkan or cuda; run `cargo xtask test --device …`"
        })?;
        // The checks themselves run on the CPU too: it agrees with itself.
        let device = diffprune_devices::parse(&name).map_err(|error| error.to_string())?;
        let dtype = match std::env::var("DIFFPRUNE_TEST_DTYPE").as_deref() {
            Err(_) | Ok("f32") => DType::F32,
            Ok("f16") => DType::F16,
            Ok("bf16") => DType::BF16,
            Ok(other) => {
                return Err(format!(
                    "DIFFPRUNE_TEST_DTYPE: found `{other}`, expected f32, f16 or bf16"
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
