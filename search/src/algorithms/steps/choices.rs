//! The choices that a subnet makes, as numbers, for the guess and the walks that learn and judge them one by one.
//!
//! Unlike genes, choices of different places have different numbers, an absent block has none, and there are no depths.

use std::ops::Range;

use crate::space::genome::{Codec, Genes};

/// Rows of choices are filled up to a whole number of so many.
pub(crate) const LANES: usize = 4;

/// The number of a choice: 0 for a block that is absent, then the resolutions, then every block's kernel size and expand
/// ratio.
pub(crate) type Choice = u16;

/// The numbering of one codec's choices and of their settings. A subnet is a row of choices: the resolution's, then one for
/// each block of the deepest form, filled up with 0 to whole lanes.
pub(crate) struct Choices {
    /// First choice of every slot.
    first: Vec<Choice>,
    /// The settings of every choice, 0 where there is none.
    pub(crate) settings: Vec<[u16; 2]>,
    /// The slot of every choice.
    pub(crate) slots: Vec<u16>,
    /// Number of settings, and the one that is none.
    pub(crate) count: usize,
    /// The slots of every stage's blocks.
    stages: Vec<Range<usize>>,
}

impl Choices {
    pub(crate) fn new(codec: &Codec) -> Choices {
        let mut this = Choices { first: vec![1], settings: vec![[0; 2]], slots: vec![0], count: 1, stages: Vec::new() };
        for _ in &codec.resolutions {
            this.settings.push([this.count as u16, 0]);
            this.slots.push(0);
            this.count += 1;
        }
        for (stage, code) in codec.space.stages().iter().zip(&codec.stages) {
            let (kernels, expands) = (stage.kernels.len(), stage.expands.len());
            let first_slot = this.first.len();
            for _ in 0..stage.max_depth() {
                this.slots.extend(std::iter::repeat_n(this.first.len() as u16, code.choices));
                this.first.push(this.settings.len() as Choice);
                let both = (0..code.choices).map(|choice| [choice / expands, kernels + choice % expands]);
                this.settings.extend(both.map(|both| both.map(|setting| (this.count + setting) as u16)));
                this.count += kernels + expands;
            }
            this.stages.push(first_slot..this.first.len());
        }
        this
    }

    /// Number of choices, and the one that is none.
    pub(crate) fn len(&self) -> usize {
        self.settings.len()
    }

    /// Number of slots.
    pub(crate) fn slot_count(&self) -> usize {
        self.first.len()
    }

    /// The slots of a stage's blocks.
    pub(crate) fn stage(&self, stage: usize) -> Range<usize> {
        self.stages[stage].clone()
    }

    /// The choices of `slot`.
    pub(crate) fn offered(&self, slot: usize) -> Range<Choice> {
        self.first[slot]..self.first.get(slot + 1).copied().unwrap_or(self.settings.len() as Choice)
    }

    /// The number of value `option` in `slot`.
    pub(crate) fn choice(&self, slot: usize, option: usize) -> Choice {
        self.first[slot] + option as Choice
    }

    /// The value that `choice` is in `slot`.
    pub(crate) fn option(&self, slot: usize, choice: Choice) -> usize {
        usize::from(choice - self.first[slot])
    }

    /// What `genes` choose in every slot.
    pub(crate) fn of(&self, codec: &Codec, genes: &[u8], choices: &mut Vec<Choice>) {
        choices.clear();
        choices.resize(self.first.len().next_multiple_of(LANES), 0);
        choices[0] = self.choice(0, usize::from(genes[0]));
        for (stage, slots) in self.stages.iter().enumerate() {
            let blocks = &genes[codec.stages[stage].first_block..][..codec.depth(genes, stage)];
            for (slot, &option) in slots.clone().zip(blocks) {
                choices[slot] = self.choice(slot, usize::from(option));
            }
        }
    }

    /// The genes of `choices`.
    pub(crate) fn genes(&self, codec: &Codec, choices: &[Choice]) -> Genes {
        let mut genes: Genes = vec![0; codec.len].into();
        genes[0] = self.option(0, choices[0]) as u8;
        for (slots, code) in self.stages.iter().zip(&codec.stages) {
            let present = choices[slots.clone()].iter().take_while(|choice| **choice != 0);
            let mut depth = 0;
            for (slot, &choice) in slots.clone().zip(present) {
                genes[code.first_block + depth] = self.option(slot, choice) as u8;
                depth += 1;
            }
            let depth = code.depths.iter().position(|&offered| offered == depth);
            genes[code.depth_gene] = depth.expect("a depth that is offered") as u8;
        }
        genes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::space::SearchSpace;

    proptest! {
        #[test]
        fn genes_come_back(seed: u64, name in prop::sample::select(SearchSpace::builtin_names())) {
            let space = SearchSpace::builtin(name).unwrap();
            let codec = Codec::new(&space, space.resolutions());
            let choices = Choices::new(&codec);
            let genes = codec.encode(&space.sample(&mut ChaCha8Rng::seed_from_u64(seed)));
            let mut chosen = Vec::new();
            choices.of(&codec, &genes, &mut chosen);
            prop_assert_eq!(choices.genes(&codec, &chosen), genes);
            for (place, &choice) in chosen.iter().enumerate().filter(|(_, choice)| **choice != 0) {
                prop_assert!(choices.offered(place).contains(&choice));
                prop_assert_eq!(usize::from(choices.slots[usize::from(choice)]), place);
                prop_assert_eq!(choices.choice(place, choices.option(place, choice)), choice);
            }
        }
    }

    #[test]
    fn every_choice_has_a_place_and_settings_of_its_own_place() {
        for name in SearchSpace::builtin_names() {
            let space = SearchSpace::builtin(name).unwrap();
            let choices = Choices::new(&Codec::new(&space, space.resolutions()));
            let offered = (0..choices.slot_count()).flat_map(|place| choices.offered(place));
            assert!(offered.eq(1..choices.len() as Choice), "{name}");
            let mut owners = vec![None; choices.count];
            for choice in 1..choices.len() {
                for setting in choices.settings[choice].into_iter().filter(|setting| *setting != 0) {
                    let owner = owners[usize::from(setting)].get_or_insert(choices.slots[choice]);
                    assert_eq!(*owner, choices.slots[choice], "{name}: setting {setting}");
                }
            }
            assert!(owners[1..].iter().all(Option::is_some), "{name}");
        }
    }
}
