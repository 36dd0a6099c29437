//! The fused operators: what they are ([`ops`]), how they run on the CPU ([`cpu`]) and their gradients ([`autodiff`]).

mod attention;
mod autodiff;
mod buffer;
mod cpu;
mod elementwise;
mod matmul;
mod ops;
mod parallel;
mod rows;
mod simd;

pub(crate) use attention::AttentionForm;
pub(crate) use ops::{FusedActivation, FusedOps};

use burn::tensor::{DType, Device, Tensor};

/// `true` if the fused form serves this tensor: f32, on the flex device, and not empty.
pub(crate) fn serves<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.shape().num_elements() > 0 && x.device() == Device::flex()
}

/// `true` if the fused form serves `row` as one number for each column of `x`.
pub(crate) fn serves_row<const D: usize>(row: &Tensor<1>, x: &Tensor<D>) -> bool {
    serves(row) && row.dims() == [x.dims()[D - 1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::FloatDType;

    #[test]
    fn f32_on_the_cpu_is_served_with_and_without_autodiff() {
        let x = Tensor::<2>::ones([2, 3], &Device::flex());
        assert!(serves(&x));
        assert!(serves(&Tensor::<2>::ones([2, 3], &Device::flex().autodiff())));
        assert!(!serves(&x.clone().cast(FloatDType::F16)));
        assert!(!serves(&x.slice([0..0, 0..3])));
    }
}
