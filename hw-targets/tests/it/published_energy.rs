//! The model against published figures: AlexNet dense, on the published tool, and pruned; SqueezeNet against AlexNet.

use std::fs;

use serde_json::Value;

use hw_targets::accelerator::{Accelerator, Layer, LayerEnergy, NetworkEnergy, estimate_network};

/// Input with padding, filter, stride, output; channels and filters of a group; groups.
type Conv = [u64; 7];

/// AlexNet with groups (Krizhevsky et al. 2012): five convolutions, three fully connected layers.
const ALEXNET: [Conv; 8] = [
    [227, 11, 4, 55, 3, 96, 1],
    [31, 5, 1, 27, 48, 128, 2],
    [15, 3, 1, 13, 256, 384, 1],
    [15, 3, 1, 13, 192, 192, 2],
    [15, 3, 1, 13, 192, 128, 2],
    [6, 6, 1, 1, 256, 4096, 1],
    [1, 1, 1, 1, 4096, 4096, 1],
    [1, 1, 1, 1, 4096, 1000, 1],
];
const NAMES: [&str; 8] = ["CONV1", "CONV2", "CONV3", "CONV4", "CONV5", "FC1", "FC2", "FC3"];

/// Fraction that is not zero of each layer's weights and input.
type Densities = Vec<[f64; 2]>;

fn network(convs: &[Conv], images: u64, densities: &Densities) -> Vec<Layer> {
    let line = |(at, [padded, filter, stride, out, channels, filters, groups]): (usize, &Conv)| {
        let [weight, input] = densities.get(at).copied().unwrap_or([1.0, 1.0]);
        let zeros = |entries: u64, density: f64| ((1.0 - density) * entries as f64).round() as u64;
        let input_zeros = zeros(padded * padded * channels * groups * images, input);
        let weight_zeros = zeros(filter * filter * channels * filters * groups, weight);
        format!(
            "{},{padded},{padded},{},{images},{input_zeros},16,{filter},{filter},{channels},{},{weight_zeros},16,\
             {out},{out},{},{images},0,16,{stride},{stride},0,0,0,0\n",
            at + 1,
            channels * groups,
            filters * groups,
            filters * groups
        )
    };
    let text: String = convs.iter().enumerate().map(line).collect();
    Layer::parse_file("network.csv".as_ref(), &text).unwrap()
}

fn on(accelerator: &str, layers: &[Layer]) -> NetworkEnergy {
    estimate_network(layers, &Accelerator::builtin(accelerator).unwrap()).unwrap()
}

/// SqueezeNet v1.0 (arXiv:1602.07360, Table 1): eight fire modules between two convolutions.
fn squeezenet() -> Vec<Conv> {
    let mut convs = vec![[227, 7, 2, 111, 3, 96, 1]];
    let mut channels = 96;
    let fires = [(55, 16, 64), (55, 16, 64), (55, 32, 128), (27, 32, 128), (27, 48, 192), (27, 48, 192), (27, 64, 256)];
    for (size, squeeze, expand) in fires.into_iter().chain([(13, 64, 256)]) {
        convs.push([size, 1, 1, size, channels, squeeze, 1]);
        convs.push([size, 1, 1, size, squeeze, expand, 1]);
        convs.push([size + 2, 3, 1, size, squeeze, expand, 1]);
        channels = 2 * expand;
    }
    // The published network pads its last 1×1 convolution by one.
    convs.push([15, 1, 1, 15, channels, 1000, 1]);
    convs
}

fn figure(name: &str) -> Option<Value> {
    let path = shared_data::file(&format!("data/systems/eyeriss-energy/{name}"))?;
    Some(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

fn sum(bars: &Value) -> f64 {
    bars.as_object().unwrap().values().map(|bar| bar.as_f64().unwrap()).sum()
}

/// How far each layer and the network are from published bars, as fractions.
fn deviations(found: &NetworkEnergy, published: &Value, images: f64) -> (Vec<f64>, f64) {
    let bars: Vec<f64> = NAMES.iter().map(|name| sum(&published[name]) / images).collect();
    let layers = found.layers.iter().zip(&bars).map(|(layer, bar)| layer.total() / bar - 1.0).collect();
    (layers, found.total() / bars.iter().sum::<f64>() - 1.0)
}

fn percent(values: &[f64]) -> Vec<String> {
    values.iter().map(|value| format!("{:+.1}", 100.0 * value)).collect()
}

#[test]
fn the_reference_networks_have_their_published_size() {
    let macs = |convs: &[Conv]| network(convs, 1, &vec![]).iter().map(Layer::macs).sum::<f64>();
    assert_eq!(macs(&ALEXNET), 724_406_816.0);
    assert_eq!(macs(&squeezenet()), 861_339_936.0);
    let weights: u64 = squeezenet().iter().map(|conv| conv[1] * conv[1] * conv[4] * conv[5] * conv[6]).sum();
    let of_alexnet: u64 = ALEXNET.iter().map(|conv| conv[1] * conv[1] * conv[4] * conv[5] * conv[6]).sum();
    assert_eq!(of_alexnet / weights, 48);
}

/// ISCA 2016, Figure 10: 256 PEs, 512 B of registers, 128 kB of buffer, batch 16.
#[test]
fn dense_alexnet_is_within_one_percent_of_the_published_analysis() {
    let Some(published) = figure("alexnet_isca16_fig10.json") else { return };
    let found = on("eyeriss-isca16", &network(&ALEXNET, 16, &vec![]));
    let (layers, total) = deviations(&found, &published["layers"], 16.0);
    println!("layers {:?} %, network {:+.2} %", percent(&layers), 100.0 * total);
    for (name, deviation) in NAMES.iter().zip(&layers) {
        assert!(deviation.abs() < 0.01, "{name}: {deviation}");
    }
    assert!((total + 0.0065).abs() < 0.0001, "{total}");
    // The first convolution agrees level by level.
    let (bars, conv1) = (&published["layers"]["CONV1"], found.layers[0].levels());
    for (level, value) in
        [("DRAM", conv1.dram), ("Buffer", conv1.global_buffer), ("Array", conv1.array), ("RF", conv1.register_file)]
    {
        assert!((16.0 * value / bars[level].as_f64().unwrap() - 1.0).abs() < 0.002, "{level}");
    }
}

/// Asilomar 2017, Figure 6: the published tool, batch 44. Densities of inputs are those that the figure's own bars of
/// computation imply, so these agree by definition; outputs are taken as dense, for their zeros are not published.
#[test]
fn the_published_tool_spends_more_on_weights_than_the_best_mapping() {
    let Some(published) = figure("alexnet_tool_fig6.json") else { return };
    let density = |name: &&str| [1.0, published["implied_ifmap_density"][name].as_f64().unwrap()];
    let found = on("eyeriss", &network(&ALEXNET, 44, &NAMES.iter().map(density).collect()));
    let (layers, total) = deviations(&found, &published["layers"], 1.0);
    println!("layers {:?} %, network {:+.1} %", percent(&layers), 100.0 * total);
    // What is found, not what is wished for: 28 % below. The documentation gives these numbers.
    let expected = [0.008, -0.030, -0.240, -0.300, -0.294, -0.681, -0.705, -0.034];
    for ((name, deviation), expected) in NAMES.iter().zip(&layers).zip(expected) {
        assert!((deviation - expected).abs() < 0.002, "{name}: {deviation}");
    }
    assert!((total + 0.276).abs() < 0.001, "{total}");
    let part = |name: &str, of: fn(&LayerEnergy) -> f64| {
        let bars: f64 = NAMES.iter().map(|layer| published["layers"][layer][name].as_f64().unwrap()).sum();
        found.sum(of) / bars
    };
    let parts = [
        part("comp", |layer| layer.computation),
        part("ifmap", |layer| layer.ifmap.total()),
        part("ofmap", |layer| layer.ofmap.total()),
        part("weight", |layer| layer.weight.total()),
    ];
    println!("computation, input, output, weights: {parts:.3?} of the published");
    assert!((parts[0] - 1.0).abs() < 0.001);
    // The gap is one of weights: more images share a fetch than in the tool's mappings.
    assert!(parts[3] < 0.5 && parts[1] > 1.0 && parts[2] > 0.9, "{parts:?}");
}

/// arXiv:1611.05128, Figure 4 and Table 2: AlexNet dense, pruned by Deep Compression, and pruned by energy.
#[test]
fn pruned_networks_come_in_the_published_order() {
    let (Some(bars), Some(tables)) = (figure("alexnet_eap_fig4.json"), figure("published_tables.json")) else { return };
    let removed = &tables["eap_table2_removed_fraction"];
    let models = [("orig", None), ("deepcomp", Some("deep_compression_1000")), ("eap", Some("eap_1000"))];
    let mut totals = Vec::new();
    for ((model, fractions), expected) in models.into_iter().zip([-0.284, -0.146, -0.160]) {
        let densities = NAMES.iter().enumerate().map(|(at, name)| {
            let weight = fractions.map_or(1.0, |name| 1.0 - removed[name][at].as_f64().unwrap());
            // What is left of the multiplications is due to weights and inputs; the bars give both together.
            let dense = network(&ALEXNET, 1, &vec![])[at].macs();
            [weight, (bars["models"][model][name]["comp"].as_f64().unwrap() / dense / weight).min(1.0)]
        });
        let found = on("eyeriss", &network(&ALEXNET, 44, &densities.collect()));
        let (layers, total) = deviations(&found, &bars["models"][model], 1.0);
        println!("{model}: layers {:?} %, network {:.3e}, {:+.1} %", percent(&layers), found.total(), 100.0 * total);
        assert!((total - expected).abs() < 0.003, "{model}: {total}");
        totals.push(found.total());
    }
    assert!(totals[0] > 1.5 * totals[1] && totals[1] > 1.5 * totals[2], "{totals:?}");
}

/// Fewer weights do not mean less energy: SqueezeNet moves more feature maps (arXiv:1611.05128, Section 5).
#[test]
fn squeezenet_costs_more_than_alexnet_unless_images_come_alone() {
    for accelerator in Accelerator::builtin_names() {
        for (images, costs_more) in [(1, false), (16, true), (48, true)] {
            let [alexnet, squeezenet] =
                [&ALEXNET[..], &squeezenet()].map(|convs| on(accelerator, &network(convs, images, &vec![])).total());
            println!("{accelerator}, batch {images}: {squeezenet:.3e} / {alexnet:.3e} = {:.2}", squeezenet / alexnet);
            assert_eq!(squeezenet > alexnet, costs_more, "{accelerator}, batch {images}");
        }
    }
}

/// A blind check: no number of SqueezeNet was used to settle the model. Its inputs' densities are not published, only
/// that 451 of 861 M multiplications have no zero (arXiv:1611.05128, Table 1), so all layers get their mean.
#[test]
fn squeezenet_is_below_its_published_energy() {
    let densities = vec![[1.0, 451.0 / 861.34]; squeezenet().len()];
    let found = on("eyeriss", &network(&squeezenet(), 48, &densities)).total();
    println!(
        "SqueezeNet at batch 48: {found:.3e} where 5.28e9 is published ({:+.1} %)",
        100.0 * (found / 5.28e9 - 1.0)
    );
    assert!((found / 5.28e9 - 1.0 + 0.176).abs() < 0.005, "{found:e}");
}

/// The chip itself (JSSC 2017, Table V): its mean power and time on AlexNet's convolutions, a batch of 4, with the zeros
/// that were found in the inputs. What it spent on one unit of the model's energy is the unit of the shipped description;
/// DRAM is not on the chip.
#[test]
fn the_unit_is_what_the_measured_chip_spends() {
    let Some(path) = shared_data::file("data/systems/eyeriss-energy/eyeriss-alexnet.csv") else { return };
    let text = fs::read_to_string(path).unwrap();
    // Milliwatts, milliseconds, and the fraction of zeros of each layer; the network is the last row.
    let row = |line: &str| {
        let cell = |at: usize| line.split(',').nth(at).unwrap().trim().trim_end_matches('%').parse::<f64>().unwrap();
        [cell(1), cell(2), cell(6) / 100.0]
    };
    let rows: Vec<[f64; 3]> = text.lines().skip(1).map(row).collect();
    let [layers @ .., whole] = rows.as_slice() else { panic!("no rows") };
    let densities = layers.iter().map(|[_, _, zeros]| [1.0, 1.0 - zeros]).collect();
    let found = on("eyeriss", &network(&ALEXNET[..5], 4, &densities));
    let picojoules = |[power, time, _]: &[f64; 3], layers: &[LayerEnergy]| {
        let units: f64 = layers.iter().map(|layer| layer.total() - layer.levels().dram).sum();
        1e6 * power * time / (4.0 * units)
    };
    let by_layer: Vec<f64> =
        layers.iter().zip(&found.layers).map(|(row, layer)| picojoules(row, std::slice::from_ref(layer))).collect();
    let whole = picojoules(whole, &found.layers);
    println!("{by_layer:.2?}, all {whole:.3} pJ");
    assert!(by_layer.len() == 5 && by_layer.iter().all(|unit| (3.0..7.2).contains(unit)), "{by_layer:?}");
    let shipped = Accelerator::builtin("eyeriss").unwrap().unit_joules().unwrap();
    assert!((whole * 1e-12 / shipped - 1.0).abs() < 0.01, "{whole}");
}
