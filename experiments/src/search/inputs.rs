//! What a search looks at: a space and its predictor, as asked for or by the target's default.

use std::collections::BTreeSet;

use hw_targets::target::Target;
use network::units::Measured;
use predictors::ensemble::AccuracyPredictor;
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::{predictor_file, spaces};

/// The bundle that is used where neither a target nor the command line says.
pub(crate) const FALLBACK_BUNDLE: &str = "mcu-cifar";

/// What is searched: a space and the predictor that judges its members.
#[derive(Clone, Debug)]
pub(crate) struct SearchInputs {
    /// The space.
    pub space: SearchSpace,
    /// Its predictor.
    pub predictor: AccuracyPredictor,
    /// The bundle both are from, if they are.
    pub bundle: Option<Bundle>,
}

/// What the command line says about the candidates; everything may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct BundleChoice<'a> {
    /// A bundle, by name or path.
    pub supernet: Option<&'a str>,
    /// A space, by name or path.
    pub space: Option<&'a str>,
    /// A predictor's file, or a bundle that has one.
    pub predictor: Option<&'a str>,
}

/// What a target says of a space's largest networks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// What they cost.
    Within,
    /// What they cost, far from what it was measured with.
    Outside,
    /// Nothing: operators are missing.
    Beyond,
}

/// What `target` says of the largest networks of a bundle. Where its file names bundles, an extrapolation is meant.
fn reach(target: &Target, bundle: &Bundle) -> Reach {
    // One that cannot be read is not passed over, but refused with the reason.
    let Ok(space) = bundle.space() else { return Reach::Within };
    let is_meant = !target.manifest().bundles.is_empty();
    let of = |resolution: &u32| {
        let Ok(largest) = space.largest(*resolution) else { return Reach::Within };
        let Ok(cost) = target.cost_of(&space.lower(&largest)) else { return Reach::Beyond };
        let is_outside = Measured::ALL.into_iter().any(|of| cost.measured(of).is_some_and(|cost| cost.outside > 0));
        if is_outside && !is_meant { Reach::Outside } else { Reach::Within }
    };
    space.resolutions().iter().map(of).max().unwrap_or(Reach::Within)
}

impl SearchInputs {
    /// The bundle or the predictor that was asked for; else that of the target's default bundles (for the space that was
    /// asked for) whose networks the target knows best, the first of several.
    ///
    /// # Errors
    /// Unknown names, wrong content, and [`Error::NoDefaultBundle`].
    pub(crate) fn choose(choice: &BundleChoice<'_>, target: Option<&Target>) -> Result<SearchInputs> {
        if let Some(name) = choice.supernet {
            return Self::of_bundle(Bundle::find(name)?);
        }
        if let Some(name) = choice.predictor {
            let (space, predictor) = predictor_file::load(name, choice.space)?;
            return Ok(SearchInputs { space, predictor, bundle: None });
        }
        let space = choice.space.map(spaces::find).transpose()?;
        let of_space = |name: &str| space.as_ref().is_none_or(|space| *space.id().0 == *name);
        let mut wanted: Vec<String> = match target {
            Some(target) => {
                let entries = target.default_bundles().iter().filter(|entry| of_space(&entry.space));
                entries.map(|entry| entry.bundle.clone()).collect()
            }
            None => Vec::new(),
        };
        match &space {
            Some(space) => wanted.push(space.id().to_string()),
            None => wanted.push(FALLBACK_BUNDLE.to_owned()),
        }
        let mut seen = BTreeSet::new();
        wanted.retain(|name| seen.insert(name.clone()));
        let asked = target.map_or_else(|| "this search".to_owned(), |target| format!("target `{}`", target.name()));
        let there = wanted.iter().filter_map(|name| Bundle::find(name).ok());
        // The first of those whose networks the target knows best.
        let chosen = match target.filter(|_| space.is_none()) {
            Some(target) => there.min_by_key(|bundle| reach(target, bundle)),
            None => there.into_iter().next(),
        };
        let Some(bundle) = chosen else {
            return Err(Error::NoDefaultBundle { asked, wanted, known: Bundle::names() });
        };
        if bundle.name() != wanted[0] {
            tracing::info!(
                "bundle `{}`, which {asked} prefers, is not there or costs more than {asked} knows",
                wanted[0]
            );
        }
        tracing::info!("searching bundle `{}`, the default of {asked}", bundle.name());
        Self::of_bundle(bundle)
    }

    fn of_bundle(bundle: Bundle) -> Result<SearchInputs> {
        let space = bundle.space()?;
        let predictor = bundle.predictor(&space)?;
        tracing::debug!(folder = %bundle.folder().display(), space = %space.id(), "bundle read");
        Ok(SearchInputs { space, predictor, bundle: Some(bundle) })
    }
}
