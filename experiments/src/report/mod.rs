//! Results as pages and tables for people: [`html`] is one file that needs no network, [`text`] is for documents.
//! [`tracking`] is for programs that show runs.
//! [`data`] gathers what sweeps found, [`folder`] what any other folder of results holds.

pub mod data;
pub mod error;
pub mod folder;
pub mod html;
pub mod text;
pub mod tracking;
