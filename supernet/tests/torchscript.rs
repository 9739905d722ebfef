//! A saved TorchScript module computes what the network does, for any batch size.

use search::space::SearchSpace;
use supernet::calibrate::calibrate;
use supernet::extract::StaticSubnet;
use supernet::subnet::Mode;
use supernet::supernet::Supernet;
use supernet::torchscript::save_torchscript;
use tch::{CModule, Device, Kind, Tensor};

#[test]
fn the_module_gives_the_logits_of_the_network() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mcu-cifar", "mbv3-w1.0"] {
        let space = SearchSpace::builtin(name).unwrap();
        let arch = space.smallest(space.resolutions()[0]).unwrap();
        let size = i64::from(arch.resolution());
        tch::manual_seed(1);
        let images = Tensor::randn([8, 3, size, size], (Kind::Float, Device::Cpu));
        let supernet = Supernet::new(&space, 3, Device::Cpu);
        let subnet = supernet.subnet(&space.resolve(&arch));
        let network = StaticSubnet::extract(&subnet, &calibrate(&subnet, [&images]));
        let path = folder.path().join("module.pt");
        save_torchscript(&network, &path).unwrap();
        let module = CModule::load(&path).unwrap();
        for count in [1, 8] {
            let images = images.narrow(0, 0, count);
            // By the operators that were traced; that the fused ones agree is shown beside the identities.
            let traced = Mode::Traced(network.statistics());
            let expected = tch::no_grad(|| network.subnet().forward(&images, traced));
            let found = module.forward_ts(&[images]).unwrap();
            let difference = ((found - &expected).abs().max() / expected.std(false)).double_value(&[]);
            assert!(difference < 1e-5, "{name}, {count} images: {difference}");
        }
    }
}
