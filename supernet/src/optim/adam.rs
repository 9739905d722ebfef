//! Adam for one tensor: what distilled images are made with.

use tch::Tensor;

/// Adam (Kingma & Ba 2015, arXiv:1412.6980) with its usual constants, for one tensor.
#[derive(Debug)]
pub(crate) struct Adam {
    first: Tensor,
    second: Tensor,
    steps: i32,
}

impl Adam {
    pub(crate) fn new(like: &Tensor) -> Self {
        Self { first: like.zeros_like(), second: like.zeros_like(), steps: 0 }
    }

    /// As it was after `steps` updates with these [`Adam::moments`].
    pub(crate) fn resumed([first, second]: [Tensor; 2], steps: usize) -> Self {
        Self { first, second, steps: steps as i32 }
    }

    /// Moving averages of the gradient and of its square.
    pub(crate) fn moments(&self) -> [&Tensor; 2] {
        [&self.first, &self.second]
    }

    /// The direction to subtract, about one in each element.
    pub(crate) fn update(&mut self, gradient: &Tensor) -> Tensor {
        const MEMORY: [f64; 2] = [0.9, 0.999];
        self.steps += 1;
        self.first = &self.first * MEMORY[0] + gradient * (1.0 - MEMORY[0]);
        self.second = &self.second * MEMORY[1] + gradient.square() * (1.0 - MEMORY[1]);
        let [first, second] = MEMORY.map(|memory| 1.0 - memory.powi(self.steps));
        &self.first / first / ((&self.second / second).sqrt() + f64::EPSILON)
    }
}
