//! `ofa target template --models`: one ONNX model per operator of a work list, to be timed wherever ONNX runs.
//!
//! Each computes what the deployed operator does: batch norm folded, fp32, batch 1, random weights, since no operator's
//! time depends on them. The folder also holds the work list, `operators.csv`; with a profile beside each model,
//! `ofa target import ort-profile FOLDER` (or `tflite-benchmark`) makes a table of it.

use std::io::Write;
use std::path::Path;

use deploy::onnx::operator_model;
use hw_targets::table::OpTable;
use storage::atomic::write_atomically;

use crate::error::{Error, Result};
use crate::folders::names;
use crate::target::work_list::check_place;

/// Writes `list` and a model per operator of it into `folder`, each model under the operator's `source_key`. Models of
/// the same name are replaced.
///
/// # Errors
/// Another list in the folder ([`Error::OtherList`]), files that cannot be written.
pub fn write(list: &OpTable, folder: &Path) -> Result<()> {
    check_place(list, &folder.join(names::OPERATORS))?;
    for row in list.rows() {
        let Some(name) = &row.source_key else { continue };
        let model = operator_model(name, &row.key.op().op());
        let path = folder.join(format!("{name}.onnx"));
        write_atomically(&path, |file| file.write_all(&model)).map_err(|source| Error::Write { source })?;
    }
    list.write_csv(&folder.join(names::OPERATORS))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;

    use super::*;
    use crate::target::work_list;

    #[test]
    fn a_folder_has_the_list_and_a_model_of_each() {
        let folder = tempfile::tempdir().unwrap();
        let list = work_list::work_list(&SearchSpace::builtin("mcu-cifar").unwrap(), None).unwrap().table.unwrap();
        write(&list, &folder.path().join("new/models")).unwrap();
        let files = std::fs::read_dir(folder.path().join("new/models")).unwrap().count();
        assert_eq!(files, list.rows().len() + 1);
    }
}
