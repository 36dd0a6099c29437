//! One backward step per operator. States hold tensors of the inner backend, so only first derivatives exist.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};

use super::AttentionForm;
use super::ops::{FusedActivation, FusedGrads, FusedOps, SavedAttention};

/// Declares the backward step of an operator with `$n` differentiable inputs: from its state and the gradient of its
/// output, the gradients of the inputs in order (`None` where nobody asked).
macro_rules! backward_step {
    ($name:ident, $n:literal, $state:ty, |$saved:ident, $grad:ident| $grads:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: FusedGrads> Backward<B, $n> for $name {
            type State = $state;

            fn backward(
                self,
                ops: Ops<Self::State, $n>,
                gradients: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let $grad = gradients.consume::<B>(&ops.node);
                let $saved = ops.state;
                let grads: [Option<FloatTensor<B>>; $n] = $grads;
                for (parent, grad) in ops.parents.into_iter().zip(grads) {
                    if let (Some(parent), Some(grad)) = (parent, grad) {
                        gradients.register::<B>(parent.id, grad);
                    }
                }
            }
        }
    };
}

backward_step!(
    ActivationStep,
    1,
    (FloatTensor<B>, FusedActivation),
    |saved, grad| {
        let (x, kind) = saved;
        [Some(B::activation_grad(x, grad, kind))]
    }
);
backward_step!(SwigluStep, 2, (FloatTensor<B>, FloatTensor<B>), |saved, grad| {
    let (gate, up) = saved;
    let (gate, up) = B::swiglu_grad(gate, up, grad);
    [Some(gate), Some(up)]
});
backward_step!(SoftmaxStep, 1, FloatTensor<B>, |p, grad| [Some(B::softmax_grad(
    p, grad
))]);
backward_step!(LayerNormStep, 3, [FloatTensor<B>; 3], |saved, grad| {
    let [x, gamma, stats] = saved;
    let (x, gamma, beta) = B::layer_norm_grad(x, gamma, stats, grad);
    [Some(x), Some(gamma), Some(beta)]
});
backward_step!(RmsNormStep, 2, [FloatTensor<B>; 3], |saved, grad| {
    let [x, gamma, stats] = saved;
    let (x, gamma) = B::rms_norm_grad(x, gamma, stats, grad);
    [Some(x), Some(gamma)]
});
backward_step!(
    CrossEntropyStep,
    1,
    (FloatTensor<B>, IntTensor<B>, FloatTensor<B>),
    |saved, grad| {
        let (logits, targets, stats) = saved;
        [Some(B::cross_entropy_grad(logits, targets, stats, grad))]
    }
);
backward_step!(
    RopeStep,
    1,
    (FloatTensor<B>, FloatTensor<B>, bool),
    |saved, grad| {
        let (cos, sin, inverse) = saved;
        [Some(B::fused_rope(grad, cos, sin, !inverse))]
    }
);
backward_step!(AttentionStep, 3, SavedAttention<B>, |saved, grad| {
    B::attention_grad(saved, grad)
});

impl<B: FusedGrads, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_activation(x: FloatTensor<Self>, kind: FusedActivation) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match ActivationStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x.clone(), kind), B::fused_activation(x, kind)),
            OpsKind::UnTracked(step) => step.finish(B::fused_activation(x, kind)),
        }
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        match SwigluStep
            .prepare::<C>([gate_node, up_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => step.finish((gate.clone(), up.clone()), B::fused_swiglu(gate, up)),
            OpsKind::UnTracked(step) => step.finish(B::fused_swiglu(gate, up)),
        }
    }

    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match SoftmaxStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let p = B::fused_softmax(x);
                step.finish(p.clone(), p)
            }
            OpsKind::UnTracked(step) => step.finish(B::fused_softmax(x)),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (gamma, gamma_node)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_node) = beta.into_parts();
        match LayerNormStep
            .prepare::<C>([x_node, gamma_node, beta_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => {
                let (y, stats) = B::layer_norm_with_stats(x.clone(), gamma.clone(), beta, eps);
                step.finish([x, gamma, stats], y)
            }
            OpsKind::UnTracked(step) => step.finish(B::fused_layer_norm(x, gamma, beta, eps)),
        }
    }

    fn fused_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let ((x, x_node), (gamma, gamma_node)) = (x.into_parts(), gamma.into_parts());
        match RmsNormStep
            .prepare::<C>([x_node, gamma_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(step) => {
                let (y, stats) = B::rms_norm_with_stats(x.clone(), gamma.clone(), eps);
                step.finish([x, gamma, stats], y)
            }
            OpsKind::UnTracked(step) => step.finish(B::fused_rms_norm(x, gamma, eps)),
        }
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        match CrossEntropyStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let (y, stats) = B::cross_entropy_with_stats(logits.clone(), targets.clone());
                step.finish((logits, targets, stats), y)
            }
            OpsKind::UnTracked(step) => step.finish(B::fused_cross_entropy(logits, targets)),
        }
    }

    fn fused_rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match RopeStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(
                (cos.clone(), sin.clone(), inverse),
                B::fused_rope(x, cos, sin, inverse),
            ),
            OpsKind::UnTracked(step) => step.finish(B::fused_rope(x, cos, sin, inverse)),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self> {
        attention::<B, C>([q, k, v], None, form)
    }

    fn fused_masked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: BoolTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self> {
        attention::<B, C>([q, k, v], Some(mask), form)
    }
}

fn attention<B: FusedGrads, C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<B, C>>; 3],
    mask: Option<BoolTensor<B>>,
    form: AttentionForm,
) -> FloatTensor<Autodiff<B, C>> {
    let wanted = inputs.each_ref().map(|x| x.is_tracked());
    let nodes = inputs.each_ref().map(|x| x.node());
    let inputs = inputs.map(|x| x.into_primitive());
    let [q, k, v] = inputs.clone();
    match AttentionStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let (output, lse) = B::attention_with_stats(q, k, v, mask.clone(), form);
            let saved = SavedAttention {
                inputs,
                mask,
                output: output.clone(),
                lse,
                form,
                wanted,
            };
            step.finish(saved, output)
        }
        OpsKind::UnTracked(step) => step.finish(B::attention_with_stats(q, k, v, mask, form).0),
    }
}
