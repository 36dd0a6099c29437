use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use diffprune_training::{AdamWOptions, Optimizer};
use std::time::Instant;
#[derive(Module, Debug)]
struct Net {
    a: Vec<Linear>,
    unused: Vec<Linear>,
}
fn net(d: &Device) -> Net {
    Net {
        a: (0..8).map(|_| LinearConfig::new(8, 8).init(d)).collect(),
        unused: (0..4).map(|_| LinearConfig::new(8, 8).init(d)).collect(),
    }
}
fn fwd(n: &Net, d: &Device) -> Tensor<1> {
    let mut x = Tensor::<2>::random([4, 8], Distribution::Default, d);
    for l in &n.a {
        x = l.forward(x).tanh();
    }
    x.sum()
}
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let plain = Device::flex();
    let ad = plain.clone().autodiff();
    let mut o = Optimizer::new(AdamWOptions::default());
    let mut m = net(&plain);
    if mode.starts_with('A') || mode.starts_with('B') {
        m = m.train();
    }
    if mode.ends_with('f') {
        m.unused = m.unused.into_iter().map(|l| l.no_grad()).collect();
    }
    let mut t = Instant::now();
    for step in 1..=3000 {
        let g = match &mode[..1] {
            "A" => GradientsParams::from_grads(fwd(&m, &ad).backward(), &m),
            "B" => {
                let c = m.clone().fork(&ad);
                GradientsParams::from_grads(fwd(&c, &ad).backward(), &c)
            }
            _ => {
                let c = m.clone().train();
                GradientsParams::from_grads(fwd(&c, &ad).backward(), &c)
            }
        };
        m = o.step(1e-3, m, g);
        if step % 500 == 0 {
            println!("{mode} {step}: {:.3} ms/step", t.elapsed().as_secs_f64() * 2.0);
            t = Instant::now();
        }
    }
}
