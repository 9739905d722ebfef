//! Several subnets of a bundle as ONNX graphs over one file of weights, in float32 or int8.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use deploy::int8::{SharedFilter, SharedFilters};
use deploy::onnx::{Int8Slice, Nested, Slice, int8_network_model, nested_int8_models, nested_models, network_model};
use network::shape::NetworkShape;
use network::weights::Weights;
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::json;
use storage::atomic::write_atomically;
use storage::failure::Setting;
use tch::Device;

use super::deploy::deploy;
use super::facts::{Facts, facts_of, text_of};
use super::file::{CHECKED, CHECKED_IN_INT8, ELSEWHERE, int8_report, measured};
use super::int8::{Quantised, quantised_sharing};
use super::run::{Check, Whole};
use super::samples::{Samples, bytes_of, own_images, training_images};
use super::source::Source;
use crate::error::{Error, Result};
use crate::folders::network_folder::NetworkFolder;
use crate::torch::{FileForm, FileRun, Int8Report, NestedFile, NestedSlice, WeightsForm};
use crate::training::open_bundle::OpenBundle;

/// The file of weights.
const WEIGHTS: &str = "weights.bin";
/// Which graphs there are, written last.
const SLICES: &str = "slices.json";

/// A subnet taken out of its bundle.
struct Taken {
    shape: NetworkShape,
    weights: Weights,
    folder: PathBuf,
}

/// One of the subnets on its way to a graph.
struct Prepared {
    name: String,
    taken: Taken,
    source: Source,
    samples: Samples,
    /// What LibTorch makes of the samples.
    expected: Vec<f32>,
    /// In int8, with what it takes of the shared filters.
    int8: Option<(Quantised, Vec<Option<SharedFilter>>)>,
    report: Option<Int8Report>,
    facts: Facts,
}

/// Writes `subnets` of `bundle`, each with its name, into `folder`, checked with `images` test images if that many are
/// wanted.
///
/// # Errors
/// A bundle without weights or images, [`Error::NotExported`] where a graph computes something else than its subnet, a file
/// that cannot be written.
pub(crate) fn export_nested(
    bundle: &OpenBundle,
    subnets: &[(String, ArchSpec)],
    in_int8: bool,
    images: Option<usize>,
    folder: &Path,
) -> Result<NestedFile> {
    check_folder(folder)?;
    let space = bundle.space();
    let scratch = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let taken = |name: String, arch: &ArchSpec| -> Result<Taken> {
        let folder = scratch.path().join(name);
        deploy(bundle, arch, WeightsForm::Tensors, &folder)?;
        let NetworkFolder { shape, weights, .. } = NetworkFolder::read(&folder)?;
        Ok(Taken { shape, weights, folder })
    };
    let archs: Vec<&ArchSpec> = subnets.iter().map(|(_, arch)| arch).collect();
    let covers = covers(space, &archs);
    let wholes = covers.iter().enumerate().map(|(at, whole)| taken(format!("whole-{at}"), whole));
    let wholes = wholes.collect::<Result<Vec<Taken>>>()?;
    let shared = in_int8
        .then(|| SharedFilters::new(&wholes.iter().map(|whole| (&whole.shape, &whole.weights)).collect::<Vec<_>>()));
    let prepared = subnets
        .iter()
        .enumerate()
        .map(|(at, (name, arch))| prepare(bundle, name, taken(format!("subnet-{at}"), arch)?, shared.as_ref(), images));
    let mut prepared = prepared.collect::<Result<Vec<Prepared>>>()?;

    // Everything is checked in a folder that nobody sees.
    let write = |folder: &Path, name: &str, bytes: &[u8]| {
        write_atomically(&folder.join(name), |file| file.write_all(bytes)).map_err(|source| Error::Write { source })
    };
    let nested = graphs(&wholes, shared.as_ref(), &prepared);
    write(scratch.path(), WEIGHTS, &nested.weights)?;
    let mut ran = Vec::new();
    for (subnet, graph) in prepared.iter_mut().zip(&nested.graphs) {
        let file = graph_of(&subnet.name);
        write(scratch.path(), &file, graph)?;
        let made = check(subnet, &scratch.path().join(&file), graph, &folder.join(&file), images)?;
        let measured = measured(&subnet.samples, &subnet.expected, subnet.report.as_ref(), made.as_ref().ok());
        subnet.facts.push(measured);
        ran.push(made);
    }
    // What was found goes into the graphs that it was found of, and changes nothing that is computed.
    let nested = graphs(&wholes, shared.as_ref(), &prepared);
    std::fs::create_dir_all(folder).map_err(|source| Error::Write { source })?;
    // Graphs over other weights would go on running, and compute nonsense.
    for file in graphs_in(folder) {
        std::fs::remove_file(&file).map_err(|source| Error::Write { source })?;
    }
    let _ = std::fs::remove_file(folder.join(SLICES));
    write(folder, WEIGHTS, &nested.weights)?;
    let (mut entries, mut slices) = (Vec::new(), Vec::new());
    for (((subnet, (_, arch)), graph), ran) in prepared.into_iter().zip(subnets).zip(&nested.graphs).zip(ran) {
        let file = graph_of(&subnet.name);
        write(folder, &file, graph)?;
        let genome = space.to_subnet_json(arch);
        let alone = match &subnet.int8 {
            Some((int8, _)) => int8_network_model(&subnet.name, &int8.network, &[]),
            None => network_model(&subnet.name, &subnet.source.folded, &[]),
        };
        entries.push(json!({"name": subnet.name, "file": file, "subnet": genome}));
        slices.push(NestedSlice {
            file: folder.join(file),
            bytes: graph.len() as u64,
            alone: alone.len() as u64,
            ran,
            checked_with: subnet.samples.words,
            size: subnet.source.shape.input().size,
            normalisation: subnet.source.described.as_ref().map(|described| [described.mean, described.std]),
            int8: subnet.report,
            subnet: genome,
        });
    }
    let list =
        json!({"schema": "ofa.slices/1", "space": space.id().to_string(), "weights": WEIGHTS, "slices": entries});
    write(folder, SLICES, format!("{list:#}\n").as_bytes())?;
    Ok(NestedFile { weights: folder.join(WEIGHTS), bytes: nested.weights.len() as u64, slices })
}

fn graph_of(name: &str) -> String {
    format!("{name}.onnx")
}

/// Rounds a subnet if filters are `shared` in int8, and says what it computes.
fn prepare(
    bundle: &OpenBundle,
    name: &str,
    taken: Taken,
    shared: Option<&SharedFilters<'_>>,
    images: Option<usize>,
) -> Result<Prepared> {
    let source = Source::read(&taken.folder, Device::Cpu)?;
    let described = source.described(&taken.folder)?;
    let preprocessing = described.preprocessing();
    let resolution = source.shape.input().size;
    let count = images.unwrap_or(if shared.is_some() { CHECKED_IN_INT8 } else { CHECKED });
    let samples = match bundle.data() {
        Some(data) => Samples::of_test(data, described, &source.shape, count)?,
        None => Samples::of_bundle(&own_images(bundle, resolution)?, count),
    };
    let int8 = match shared {
        None => None,
        Some(shared) => {
            let calibrating = match bundle.data() {
                Some(data) => training_images(data, described, &source.shape)?,
                None => own_images(bundle, resolution)?.images,
            };
            let bytes = bytes_of(&calibrating, &preprocessing);
            let rounded = quantised_sharing(source.folded.clone(), &preprocessing, &bytes, shared, &taken.weights);
            let refused = |problem: deploy::Unsupported| Error::NotExported {
                file: graph_of(name).into(),
                problem: problem.to_string(),
            };
            Some(rounded.map_err(refused)?)
        }
    };
    let expected = source.outputs(&samples.images, Device::Cpu);
    let report = int8.as_ref().map(|(int8, _)| int8_report(int8, &source, &samples, &expected, false));
    let facts = facts_of(&taken.folder, None, &source.shape, source.described.as_ref(), shared.is_some());
    Ok(Prepared { name: name.to_owned(), taken, source, samples, expected, int8, report, facts })
}

/// The file of weights and all graphs.
fn graphs(wholes: &[Taken], shared: Option<&SharedFilters<'_>>, subnets: &[Prepared]) -> Nested {
    let facts: Vec<Vec<(String, String)>> = subnets
        .iter()
        .map(|subnet| subnet.facts.iter().map(|(key, value)| (key.clone(), text_of(value))).collect())
        .collect();
    let with_facts = || subnets.iter().zip(&facts);
    match shared {
        None => {
            let slices: Vec<Slice<'_>> = with_facts()
                .map(|(Prepared { name, taken, .. }, facts)| Slice {
                    name,
                    shape: &taken.shape,
                    weights: &taken.weights,
                    facts,
                })
                .collect();
            nested_models(WEIGHTS, &wholes.iter().map(|whole| &whole.weights).collect::<Vec<_>>(), &slices)
        }
        Some(shared) => {
            let slices: Vec<Int8Slice<'_>> = with_facts()
                .filter_map(|(Prepared { name, int8, .. }, facts)| {
                    let (int8, filters) = int8.as_ref()?;
                    Some(Int8Slice { name, network: &int8.network, filters, facts })
                })
                .collect();
            nested_int8_models(WEIGHTS, shared, &slices)
        }
    }
}

/// Runs the graph at `path`, whose bytes are `graph`, beside its subnet; it is to be at `out`.
fn check(
    subnet: &Prepared,
    path: &Path,
    graph: &[u8],
    out: &Path,
    images: Option<usize>,
) -> Result<std::result::Result<FileRun, String>> {
    let Prepared { source, samples, expected, int8, .. } = subnet;
    let check = Check { form: FileForm::Onnx, out, source, samples, expected };
    match int8 {
        None => check.float(Whole::At(path, graph)),
        Some((int8, _)) => check.int8(path, int8, images.map_or(ELSEWHERE, |_| i64::MAX)),
    }
}

/// Refuses a folder that holds anything but an earlier export of this kind.
fn check_folder(folder: &Path) -> Result<()> {
    let is_other = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some() && !folder.join(SLICES).exists(),
        Err(_) => folder.exists(),
    };
    if is_other {
        let hint = format!("{} is there already: name a new folder with {}", folder.display(), Setting("out"));
        return Err(Error::ExportForm { problem: "nested subnets take a folder of their own", hint });
    }
    Ok(())
}

/// The graphs of an earlier export.
fn graphs_in(folder: &Path) -> Vec<PathBuf> {
    let is_graph = |path: &PathBuf| path.extension().is_some_and(|end| end == "onnx");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_graph).collect()
}

/// Subnets whose weights hold those of all of `archs`: as deep and wide as the deepest and widest, one for each kernel size,
/// as a smaller kernel is a transform of a larger one and no part of it.
fn covers(space: &SearchSpace, archs: &[&ArchSpec]) -> Vec<ArchSpec> {
    let kernels: BTreeSet<u32> = archs
        .iter()
        .flat_map(|arch| arch.stages().iter().flat_map(|stage| stage.blocks.iter().map(|block| block.kernel)))
        .collect();
    let with_kernel = |kernel: &u32| {
        let stages: Vec<Vec<_>> = (0..archs[0].stages().len())
            .map(|stage| {
                let depth = archs.iter().map(|arch| arch.stages()[stage].blocks.len()).max().unwrap_or(0);
                let block = |at: usize| {
                    let there = || archs.iter().filter_map(|arch| arch.stages()[stage].blocks.get(at));
                    let expand = there().map(|block| block.expand).max();
                    let has_kernel = there().any(|block| block.kernel == *kernel);
                    let largest = there().map(|block| block.kernel).max();
                    json!({"kernel": if has_kernel { Some(*kernel) } else { largest }, "expand": expand})
                };
                (0..depth).map(block).collect()
            })
            .collect();
        let file = json!({
            "schema": "ofa.subnet/1", "space": space.id().to_string(), "resolution": archs[0].resolution(),
            "stages": stages,
        });
        let file = ArchFile::from_json(&file.to_string()).expect("what was written is read");
        space.parse(&file).expect("settings of subnets are offered")
    };
    kernels.iter().map(with_kernel).collect()
}
