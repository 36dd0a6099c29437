//! Which cargo feature a device name needs.

use anyhow::bail;

/// The cargo feature of the binary that a device name asks for; none for the CPU.
pub fn feature(device: &str) -> anyhow::Result<Option<&'static str>> {
    let kind = device.split(':').next().unwrap_or(device);
    Ok(match kind {
        "cpu" => None,
        "wgpu" => Some("wgpu"),
        "vulkan" => Some("vulkan"),
        "cuda" => Some("cuda"),
        "cuda-cpp" => Some("cuda-cpp"),
        _ => bail!(
            "device: found `{device}`, expected cpu, wgpu, vulkan, cuda or cuda-cpp (with an index as in cuda:1)"
        ),
    })
}

/// The name of the device in the program that was built for it: kernels in CUDA C++ run on the same one.
pub fn name(device: &str) -> String {
    device.replacen("cuda-cpp", "cuda", 1)
}
