//! The crate by its public door: targets found, added, kept and refused; tables read, checked and written; formats read;
//! energy against published figures.

mod budget;
mod defects;
mod kept_targets;
mod library;
mod networks;
mod ofa_yaml;
mod own;
mod published_energy;
mod samples;
mod support;
mod table_file;
