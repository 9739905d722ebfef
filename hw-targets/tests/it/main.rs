//! The crate by its public door: targets found, added, kept and refused; tables read, checked and written; formats read;
//! energy against published figures.

mod defects;
mod kept_targets;
mod library;
mod ofa_yaml;
mod published_energy;
mod table_file;
