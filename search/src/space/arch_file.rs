//! Subnets as files: `ofa.subnet/1`, the published genome dictionary, and FBNet operator lists.
//!
//! Reading has two steps, because a file is opened before its space is known: [`ArchFile`] is what was written,
//! [`SearchSpace::parse`] the checked door into a space. Genes of blocks that depth drops are ignored when read and
//! written as the smallest choice (`once-for-all` §4.1, §6.1).

use serde_json::{Map, Value, json};

use crate::error::SearchError;
use crate::space::SearchSpace;
use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};

/// Schema word of a subnet file.
pub(crate) const SUBNET_SCHEMA: &str = "ofa.subnet/1";

/// A subnet as written, not yet checked against a space.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchFile {
    pub(crate) object: Map<String, Value>,
    pub(crate) form: ArchForm,
}

/// Which of the accepted forms a subnet is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchForm {
    /// `{"schema":"ofa.subnet/1","space":…,"resolution":…,"stages":[…]}`.
    Stages,
    /// `{"ks":[…],"e":[…],"d":[…],"r":…}`.
    Genome,
    /// `{"ops":[…],"r":…}`: upstream FBNet operator numbers; costs only.
    Operators,
}

impl ArchFile {
    /// Reads one subnet.
    ///
    /// # Errors
    /// [`SearchError::SubnetSyntax`] if it is not JSON or none of the forms.
    pub fn from_json(text: &str) -> Result<ArchFile, SearchError> {
        let value = storage::json::parse(text.as_bytes()).map_err(|error| syntax(error.to_string()))?;
        ArchFile::from_value(value)
    }

    /// Reads many, each with its place (`line 14`) for later messages: one per line (`.jsonl`), or one JSON document with
    /// one subnet or an array of them.
    ///
    /// # Errors
    /// [`SearchError::At`] with the line (or array item), from 1; [`SearchError::SubnetSyntax`] for an empty file.
    pub fn from_json_lines_placed(text: &str) -> Result<Vec<(String, ArchFile)>, SearchError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        let Some((_, first)) = lines.peek() else {
            return Err(syntax("the file is empty"));
        };
        let is_document = serde_json::from_str::<Value>(first).is_err() && serde_json::from_str::<Value>(text).is_ok();
        let one_array = matches!(serde_json::from_str::<Value>(first), Ok(Value::Array(_)));
        if is_document || one_array {
            return match storage::json::parse(text.as_bytes()).map_err(|error| syntax(error.to_string()))? {
                Value::Array(items) => {
                    let placed = items.into_iter().enumerate().map(|(index, item)| {
                        let place = format!("item {}", index + 1);
                        match ArchFile::from_value(item) {
                            Ok(file) => Ok((place, file)),
                            Err(error) => Err(error.at(place)),
                        }
                    });
                    placed.collect()
                }
                value => Ok(vec![("line 1".into(), ArchFile::from_value(value)?)]),
            };
        }
        let placed = lines.map(|(index, line)| {
            let place = format!("line {}", index + 1);
            match ArchFile::from_json(line) {
                Ok(file) => Ok((place, file)),
                Err(error) => Err(error.at(place)),
            }
        });
        placed.collect()
    }

    /// Reads one subnet from parsed JSON; the line that `search --format json` prints (`{"subnet":{…},…}`) is accepted.
    ///
    /// # Errors
    /// [`SearchError::SubnetSyntax`] if it is none of the forms.
    pub fn from_value(value: Value) -> Result<ArchFile, SearchError> {
        let Value::Object(mut object) = value else {
            return Err(syntax(format!("expected an object, found {}", kind_of(&value))));
        };
        if let Some(Value::Object(_)) = object.get("subnet")
            && let Some(Value::Object(inner)) = object.remove("subnet")
        {
            object = inner;
        }
        let form = if object.contains_key("stages") {
            match object.get("schema") {
                Some(Value::String(schema)) if schema == SUBNET_SCHEMA => ArchForm::Stages,
                Some(other) => {
                    return Err(syntax(format!("schema is {other}, this version reads \"{SUBNET_SCHEMA}\"")));
                }
                None => return Err(syntax(format!("`schema` is missing (\"{SUBNET_SCHEMA}\")"))),
            }
        } else if object.contains_key("ks") {
            ArchForm::Genome
        } else if object.contains_key("ops") {
            ArchForm::Operators
        } else {
            return Err(syntax("none of the keys `stages`, `ks` or `ops` is there"));
        };
        Ok(ArchFile { object, form })
    }

    /// Keys that mean nothing here, in the order of the file.
    pub fn unread_keys(&self) -> Vec<&str> {
        let known: &[&str] = match self.form {
            ArchForm::Stages => &["schema", "space", "resolution", "stages"],
            ArchForm::Genome => &["ks", "e", "d", "r", "image_size", "space", "w", "wid", "width_mult"],
            ArchForm::Operators => &["ops", "r", "image_size", "space", "resolution", "w", "wid", "width_mult"],
        };
        self.object.keys().map(String::as_str).filter(|key| !known.contains(key)).collect()
    }

    /// The space it names, if it does.
    pub fn space(&self) -> Option<&str> {
        self.object.get("space").and_then(Value::as_str)
    }
}

impl SearchSpace {
    /// A file's words become a member of this space, or an error naming the odd one out.
    ///
    /// # Errors
    /// A subnet of another space; a kernel size, expand ratio, depth or resolution that is not offered; a list of the
    /// wrong length. All are wrong content.
    pub fn parse(&self, file: &ArchFile) -> Result<ArchSpec, SearchError> {
        let arch = self.parse_at_any_resolution(file)?;
        self.check_resolution(arch.resolution, resolution_key(file))?;
        Ok(arch)
    }

    /// Like [`SearchSpace::parse`], for any resolution of at least 16 (cost questions only).
    ///
    /// # Errors
    /// As [`SearchSpace::parse`].
    pub fn parse_at_any_resolution(&self, file: &ArchFile) -> Result<ArchSpec, SearchError> {
        self.check_space(file)?;
        match file.form {
            ArchForm::Stages => self.parse_stages(file),
            ArchForm::Genome => self.parse_genome(file),
            ArchForm::Operators => Err(self.bad_field(
                "ops",
                "an operator list answers cost questions only; write the subnet by stages or as a genome",
            )),
        }
    }

    /// Reads a file of many subnets (see [`ArchFile::from_json_lines_placed`]) as members of this space.
    ///
    /// # Errors
    /// As [`SearchSpace::parse`], with the line.
    pub fn parse_lines(&self, text: &str) -> Result<Vec<ArchSpec>, SearchError> {
        let files = ArchFile::from_json_lines_placed(text)?;
        files.into_iter().map(|(place, file)| self.parse(&file).map_err(|error| error.at(place))).collect()
    }

    /// `ofa.subnet/1`.
    pub fn to_subnet_json(&self, arch: &ArchSpec) -> Value {
        let stages: Vec<Value> = arch
            .stages
            .iter()
            .map(|stage| {
                stage.blocks.iter().map(|block| json!({"kernel": block.kernel, "expand": block.expand})).collect()
            })
            .collect();
        json!({"schema": SUBNET_SCHEMA, "space": &*arch.space.0, "resolution": arch.resolution, "stages": stages})
    }

    pub(crate) fn check_space(&self, file: &ArchFile) -> Result<(), SearchError> {
        if file.form != ArchForm::Stages {
            self.check_width(file)?;
        }
        match file.object.get("space") {
            None | Some(Value::Null) if file.form != ArchForm::Stages => Ok(()),
            Some(Value::String(name)) if *name == *self.id.0 => Ok(()),
            Some(Value::String(name)) => {
                Err(SearchError::WrongSpace { got: name.clone(), expected: self.id.to_string() })
            }
            _ => Err(self.bad_field("space", "the name of the space is missing")),
        }
    }

    fn parse_stages(&self, file: &ArchFile) -> Result<ArchSpec, SearchError> {
        let resolution = self.read_resolution(file)?;
        let stages = self.list(file, "stages", self.stages.len(), "stages")?;
        let mut specs = Vec::with_capacity(stages.len());
        for (stage, value) in stages.iter().enumerate() {
            let Value::Array(blocks) = value else {
                return Err(self.bad_field(
                    format!("stages[{stage}]"),
                    format!("expected a list of blocks, found {}", kind_of(value)),
                ));
            };
            self.check_depth(stage, blocks.len() as u64, format!("stages[{stage}]"))?;
            let mut spec = StageSpec { blocks: Vec::with_capacity(blocks.len()) };
            for (block, value) in blocks.iter().enumerate() {
                let read = |key: &str| {
                    let field = format!("stages[{stage}][{block}].{key}");
                    match value.get(key) {
                        Some(number) => self.whole(number, field.clone()).map(|number| (number, field)),
                        None => Err(self.bad_field(field, format!("`{key}` is missing"))),
                    }
                };
                let ((kernel, kernel_field), (expand, expand_field)) = (read("kernel")?, read("expand")?);
                spec.blocks.push(BlockSpec {
                    kernel: self.check_kernel(stage, block, kernel, kernel_field)?,
                    expand: self.check_expand(stage, block, expand, expand_field)?,
                });
            }
            specs.push(spec);
        }
        self.arch_at_any_resolution(resolution, specs)
    }

    /// The input size of any form: `resolution`, `r` or `image_size`, a number or a one-element list.
    pub(crate) fn read_resolution(&self, file: &ArchFile) -> Result<u32, SearchError> {
        let key = resolution_key(file);
        let Some(value) = file.object.get(key) else {
            return Err(self.bad_field(key, format!("`{key}` is missing")));
        };
        let one = |value: &Value, key: &str| match value {
            Value::Array(one) if one.len() == 1 => self.whole(&one[0], key.into()),
            other => self.whole(other, key.into()),
        };
        let resolution = one(value, key)?;
        if let Some(other) = file.object.get("image_size").filter(|other| key == "r" && !other.is_null())
            && one(other, "image_size")? != resolution
        {
            return Err(self.bad_field("image_size", format!("is {other}, and `r` is {resolution}")));
        }
        let resolution = u32::try_from(resolution).unwrap_or(u32::MAX);
        self.check_any_resolution(resolution, key)?;
        Ok(resolution)
    }

    /// The list `key`, of exactly `length` values, one for each of the space's `what`.
    pub(crate) fn list<'a>(
        &self,
        file: &'a ArchFile,
        key: &str,
        length: usize,
        what: &str,
    ) -> Result<&'a [Value], SearchError> {
        match file.object.get(key) {
            Some(Value::Array(values)) if values.len() == length => Ok(values),
            Some(Value::Array(values)) => {
                Err(self.bad_field(key, format!("{} values, the space has {length} {what}", values.len())))
            }
            Some(other) => {
                Err(self.bad_field(key, format!("expected a list of {length} values, found {}", kind_of(other))))
            }
            None => Err(self.bad_field(key, format!("`{key}` is missing"))),
        }
    }

    /// A whole number; `4.0` counts as one, because other tools write it so.
    pub(crate) fn whole(&self, value: &Value, field: String) -> Result<u64, SearchError> {
        let float = || value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64);
        match value.as_u64().or_else(float) {
            Some(number) => Ok(number),
            None => Err(self.bad_field(field, format!("expected a whole number, found {value}"))),
        }
    }

    pub(crate) fn bad_field(&self, field: impl Into<String>, problem: impl Into<String>) -> SearchError {
        SearchError::SubnetField { space: self.id.to_string(), field: field.into(), problem: problem.into() }
    }
}

fn resolution_key(file: &ArchFile) -> &'static str {
    match file.form {
        ArchForm::Stages => "resolution",
        _ if !file.object.contains_key("r") && file.object.contains_key("image_size") => "image_size",
        _ => "r",
    }
}

fn syntax(problem: impl Into<String>) -> SearchError {
    SearchError::SubnetSyntax { problem: problem.into() }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use storage::failure::Failure;

    use super::*;

    fn mcu() -> SearchSpace {
        SearchSpace::builtin("mcu-cifar").unwrap()
    }

    #[test]
    fn parse_undoes_print_in_both_forms() {
        for name in SearchSpace::builtin_names() {
            let space = SearchSpace::builtin(name).unwrap();
            for resolution in [space.resolutions()[0], *space.resolutions().last().unwrap()] {
                for arch in [space.largest(resolution).unwrap(), space.smallest(resolution).unwrap()] {
                    for value in [space.to_subnet_json(&arch), space.to_genome_json(&arch)] {
                        assert_eq!(space.parse(&ArchFile::from_value(value).unwrap()).unwrap(), arch);
                    }
                }
            }
        }
    }

    const GENOME: &str = r#"{"ks":[3,0,5,3,null,3,3,-1,3,"x"],"e":[2,9,4,3,9,2,2,9,3,9],"d":[1,2,2,1],"r":[28]}"#;

    #[test]
    fn keys_without_a_meaning_are_known() {
        let keys = |text: &str| {
            let file = ArchFile::from_json(text).unwrap();
            file.unread_keys().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(keys(GENOME), Vec::<String>::new());
        assert_eq!(keys(&GENOME.replacen('{', "{\"wid\":null,\"stem\":24,", 1)), ["stem"]);
        assert_eq!(keys(&mcu().to_subnet_json(&mcu().largest(32).unwrap()).to_string()), Vec::<String>::new());
    }

    #[test]
    fn inactive_genes_are_ignored_and_written_as_the_smallest() {
        let arch = mcu().parse(&ArchFile::from_json(GENOME).unwrap()).unwrap();
        let printed = mcu().to_genome_json(&arch);
        assert_eq!(
            printed.to_string(),
            r#"{"ks":[3,3,5,3,3,3,3,3,3,3],"e":[2,2,4,3,2,2,2,2,3,2],"d":[1,2,2,1],"r":28}"#
        );
        let image_size = GENOME.replace("\"r\":[28]", "\"image_size\":28.0");
        assert_eq!(mcu().parse(&ArchFile::from_json(&image_size).unwrap()).unwrap(), arch);
    }

    #[test]
    fn compact_lists_and_single_values_are_read() {
        let read = |text: &str| mcu().parse(&ArchFile::from_json(text).unwrap());
        let arch = read(GENOME).unwrap();
        let compact = r#"{"ks":[3,5,3,3,3,3],"e":[2,4,3,2,2,3],"d":[1,2,2,1],"r":28,"w":1.0,"wid":null}"#;
        assert_eq!(read(compact).unwrap(), arch);
        let mixed = r#"{"ks":[3,3,5,3,3,3,3,3,3,3],"e":[2,4,3,2,2,3],"d":[1,2,2,1],"r":28,"image_size":[28]}"#;
        assert_eq!(read(mixed).unwrap(), arch);
        let all = read(r#"{"ks":5,"e":4,"d":2,"r":32}"#).unwrap();
        assert!(all.stages().iter().all(|stage| stage.blocks == [BlockSpec { kernel: 5, expand: 4 }; 2]));
    }

    #[test]
    fn another_width_is_another_space() {
        let space = SearchSpace::builtin("mbv3-w1.0").unwrap();
        let with = |width: &str| {
            let genome = space.to_genome_json(&space.largest(space.resolutions()[0]).unwrap()).to_string();
            space.parse(&ArchFile::from_json(&genome.replacen('{', &format!("{{\"width_mult\":{width},"), 1)).unwrap())
        };
        assert!(with("1").is_ok() && with("null").is_ok());
        let error = with("1.2").unwrap_err().to_string();
        assert!(error.contains("is 1.2, and this space's width is 1; space `mbv3-w1.2` has it"), "{error}");
        assert!(with("\"wide\"").is_err());
    }

    fn check(from: &str, to: &str, expected: &str) {
        assert!(GENOME.contains(from), "{from}");
        let file = ArchFile::from_json(&GENOME.replacen(from, to, 1));
        let error = file.and_then(|file| mcu().parse(&file)).unwrap_err();
        assert_eq!(error.kind().exit_code(), 3);
        let message = format!("{error}; {}", error.hint().unwrap_or_default());
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn what_is_not_offered_is_named_by_stage_and_block() {
        check(
            "5,3,null",
            "9,3,null",
            "stage 2, block 1 uses kernel size 9, which space `mcu-cifar` does not offer (ks[2])",
        );
        check("5,3,null", "9,3,null", "this stage offers 3 and 5");
        check("[2,9,4", "[6,9,4", "stage 1, block 1 uses expand ratio 6");
        check("[1,2,2,1]", "[1,2,4,1]", "stage 3 has 4 blocks");
        check("[28]", "30", "resolution 30 is not offered");
        check("[28]", "\"big\"", "expected a whole number");
        check("[1,2,2,1]", "[1,2,2]", "3 values, the space has 4 stages (d)");
        check("[1,2,2,1]", "\"2\"", "expected a list of 4 values or one number");
        check("[2,9,4,3,9,2,2,9,3,9]", "[2,4,3,2,2]", "5 values, the space has 10 blocks (e)");
        check("\"r\":[28]", "\"r\":[28],\"r\":[32]", "the key \"r\" is there twice");
        check("\"r\":[28]", "\"r\":[28],\"image_size\":32", "is 32, and `r` is 28 (image_size)");
        check("{\"ks\"", "{\"w\":1.2,\"ks\"", "is 1.2, and this space's width is 1 (w)");
        check("\"e\"", "\"ee\"", "`e` is missing");
        check("{\"ks\"", "{\"space\":\"mbv3-w1.0\",\"ks\"", "the subnet belongs to space `mbv3-w1.0`");
        check("\"ks\"", "\"kss\"", "none of the keys");
        check("}", "", "EOF");
    }

    #[test]
    fn lines_arrays_and_documents_are_read_and_errors_name_the_line() {
        let space = mcu();
        let two = format!("{GENOME}\n\n{}\n", space.to_subnet_json(&space.largest(32).unwrap()));
        assert_eq!(space.parse_lines(&two).unwrap().len(), 2);
        assert_eq!(space.parse_lines(&format!("[{GENOME},{GENOME}]")).unwrap().len(), 2);
        assert_eq!(space.parse_lines(&GENOME.replace("\"e\"", "\n\"e\"")).unwrap().len(), 1);
        let result = format!("{{\"subnet\":{},\"top1\":0.5}}", space.to_subnet_json(&space.largest(24).unwrap()));
        assert_eq!(space.parse_lines(&result).unwrap()[0], space.largest(24).unwrap());
        let error = space.parse_lines(&format!("{GENOME}\n{}", GENOME.replace("[28]", "29"))).unwrap_err();
        assert!(error.to_string().starts_with("line 2: resolution 29"), "{error}");
        assert!(error.hint().unwrap().contains("24, 28 and 32"));
        assert!(space.parse_lines(&format!("{GENOME}\n{{")).unwrap_err().to_string().starts_with("line 2"));
        assert!(space.parse_lines("").is_err());
    }
}
