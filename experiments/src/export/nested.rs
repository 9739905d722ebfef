//! Several subnets of a bundle as ONNX graphs over one file of weights.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use deploy::agreement::Agreement;
use deploy::onnx::{Slice, nested_models};
use deploy::runtime::Runtime;
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
use super::facts::{facts_of, text_of};
use super::file::{Source, disagreement};
use super::samples::{Samples, numbers};
use crate::error::{Error, Result};
use crate::folders::network_folder::NetworkFolder;
use crate::torch::{NestedFile, NestedSlice};
use crate::training::open_bundle::OpenBundle;

/// The file of weights.
const WEIGHTS: &str = "weights.bin";
/// Which graphs there are, written last.
const SLICES: &str = "slices.json";
/// Images that each graph is checked with.
const CHECKED: usize = 100;

/// Writes `subnets` of `bundle`, each with its name, into `folder`.
///
/// # Errors
/// A bundle without weights or images, [`Error::NotExported`] where a graph computes something else than its subnet, a file
/// that cannot be written.
pub(crate) fn export_nested(bundle: &OpenBundle, subnets: &[(String, ArchSpec)], folder: &Path) -> Result<NestedFile> {
    check_folder(folder)?;
    let space = bundle.space();
    let scratch = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let taken = |name: &str, arch: &ArchSpec| -> Result<(Source, Weights, std::path::PathBuf)> {
        let folder = scratch.path().join(name);
        deploy(bundle, arch, false, &folder)?;
        Ok((Source::read(&folder, Device::Cpu)?, NetworkFolder::read(&folder)?.weights, folder))
    };
    let archs: Vec<&ArchSpec> = subnets.iter().map(|(_, arch)| arch).collect();
    let mut wholes = Vec::new();
    for (at, whole) in covers(space, &archs).iter().enumerate() {
        wholes.push(taken(&format!("whole-{at}"), whole)?.1);
    }
    let mut networks = Vec::new();
    for (at, (_, arch)) in subnets.iter().enumerate() {
        networks.push(taken(&format!("subnet-{at}"), arch)?);
    }
    let facts: Vec<Vec<(String, String)>> = networks
        .iter()
        .map(|(source, _, folder)| {
            let facts = facts_of(folder, None, &source.shape, source.described.as_ref(), false);
            facts.into_iter().map(|(key, value)| (key, text_of(&value))).collect()
        })
        .collect();
    let slices: Vec<Slice<'_>> = subnets
        .iter()
        .zip(&networks)
        .zip(&facts)
        .map(|(((name, _), (source, weights, _)), facts)| Slice { name, shape: &source.shape, weights, facts })
        .collect();
    let nested = nested_models(WEIGHTS, &wholes.iter().collect::<Vec<_>>(), &slices);

    // Everything is checked in a folder that nobody sees.
    let write = |folder: &Path, name: &str, bytes: &[u8]| {
        write_atomically(&folder.join(name), |file| file.write_all(bytes)).map_err(|source| Error::Write { source })
    };
    write(scratch.path(), WEIGHTS, &nested.weights)?;
    let mut made = Vec::new();
    for (((name, arch), (source, ..)), graph) in subnets.iter().zip(&networks).zip(&nested.graphs) {
        let file = format!("{name}.onnx");
        write(scratch.path(), &file, graph)?;
        let agreement = check(&scratch.path().join(&file), &folder.join(&file), bundle, source)?;
        let alone = separate_bytes(&source.shape);
        let subnet = space.to_subnet_json(arch);
        made.push(NestedSlice { file: folder.join(file), bytes: graph.len() as u64, alone, agreement, subnet });
    }
    std::fs::create_dir_all(folder).map_err(|source| Error::Write { source })?;
    // Graphs over other weights would go on running, and compute nonsense.
    for file in graphs_in(folder) {
        std::fs::remove_file(&file).map_err(|source| Error::Write { source })?;
    }
    let _ = std::fs::remove_file(folder.join(SLICES));
    write(folder, WEIGHTS, &nested.weights)?;
    for ((name, _), graph) in subnets.iter().zip(&nested.graphs) {
        write(folder, &format!("{name}.onnx"), graph)?;
    }
    let entries: Vec<_> = subnets
        .iter()
        .map(|(name, arch)| json!({"name": name, "file": format!("{name}.onnx"), "subnet": space.to_subnet_json(arch)}))
        .collect();
    let list =
        json!({"schema": "ofa.slices/1", "space": space.id().to_string(), "weights": WEIGHTS, "slices": entries});
    write(folder, SLICES, format!("{list:#}\n").as_bytes())?;
    Ok(NestedFile { weights: folder.join(WEIGHTS), bytes: nested.weights.len() as u64, slices: made })
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
fn graphs_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let is_graph = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "onnx");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_graph).collect()
}

/// Bytes of weights that a file of this network alone has in float32, batch norms folded.
fn separate_bytes(shape: &NetworkShape) -> u64 {
    let of = |named: &network::shape::NamedLayer| match named.layer.is_weighted() {
        true => 4 * (named.layer.weight_count() + u64::from(named.layer.output.channels)),
        false => 0,
    };
    shape.layers().iter().map(of).sum()
}

/// Runs a graph beside its subnet in LibTorch.
fn check(graph: &Path, file: &Path, bundle: &OpenBundle, source: &Source) -> Result<Agreement> {
    let samples = match (bundle.data(), &source.described) {
        (Some(data), Some(described)) => Samples::of_test(data, described, &source.shape, CHECKED)?,
        _ => Samples::noise(&source.shape, CHECKED),
    };
    let refused = |problem: String| Error::NotExported { file: file.to_path_buf(), problem };
    let [n, c, h, w] = <[i64; 4]>::try_from(samples.images.size()).expect("images").map(|length| length as usize);
    let got = Runtime::onnx_file(graph, [n, c, h, w]).and_then(|runtime| runtime.run(&numbers(&samples.images)));
    let got = got.map_err(|error| refused(error.to_string()))?;
    let expected = source.outputs(&samples.images, Device::Cpu);
    let agreement = Agreement::of(&expected, &got, source.shape.output().elements() as usize);
    if agreement.holds() { Ok(agreement) } else { Err(refused(disagreement("tract", &agreement))) }
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
