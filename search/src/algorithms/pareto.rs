//! Several objectives at once: dominance, fronts, crowding and hypervolume.
//!
//! Points are rows of values that are all to be small; whoever wants something large negates it.

/// Whether `a` is nowhere larger than `b` and somewhere smaller.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let mut smaller = false;
    for (a, b) in a.iter().zip(b) {
        if a > b {
            return false;
        }
        smaller |= a < b;
    }
    smaller
}

/// Indices of the points that no other dominates, by their first value and then their position; of equal points the
/// first.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    // In lexicographic order nothing is dominated by what comes later.
    order.sort_by(|&a, &b| compare(&points[a], &points[b]).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    // The best second value so far decides where there are two.
    let mut least = f64::INFINITY;
    for at in order {
        let point = &points[at];
        let beaten = match point.len() {
            2 => point[1] >= least,
            _ => kept.iter().any(|&other| points[other] == *point || dominates(&points[other], point)),
        };
        if !beaten {
            least = least.min(point.get(1).copied().unwrap_or(least));
            kept.push(at);
        }
    }
    kept
}

fn compare(a: &[f64], b: &[f64]) -> std::cmp::Ordering {
    let differing = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
    differing.unwrap_or(std::cmp::Ordering::Equal)
}

/// Indices in layers: the front, the front of the rest, and so on (Deb et al. 2002, §III-A).
pub(crate) fn layers(points: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut dominated_by = vec![0_usize; points.len()];
    let mut beats: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    for a in 0..points.len() {
        for b in a + 1..points.len() {
            if dominates(&points[a], &points[b]) {
                beats[a].push(b);
                dominated_by[b] += 1;
            } else if dominates(&points[b], &points[a]) {
                beats[b].push(a);
                dominated_by[a] += 1;
            }
        }
    }
    let mut current: Vec<usize> = (0..points.len()).filter(|&at| dominated_by[at] == 0).collect();
    let mut all = Vec::new();
    while !current.is_empty() {
        let mut next = Vec::new();
        for &at in &current {
            for &other in &beats[at] {
                dominated_by[other] -= 1;
                if dominated_by[other] == 0 {
                    next.push(other);
                }
            }
        }
        next.sort_unstable();
        all.push(std::mem::replace(&mut current, next));
    }
    all
}

/// How far apart the neighbours of each point of a layer are, each objective scaled to the layer's range; infinite at
/// the ends (Deb et al. 2002, §III-B).
pub(crate) fn crowding(points: &[Vec<f64>], layer: &[usize]) -> Vec<f64> {
    let mut distance = vec![0.0; layer.len()];
    let objectives = layer.first().map_or(0, |&at| points[at].len());
    let columns = (0..objectives).map(|of| layer.iter().map(|&at| points[at][of]).collect::<Vec<f64>>());
    for column in columns {
        let value = |place: usize| column[place];
        let mut order: Vec<usize> = (0..layer.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let range = value(last) - value(first);
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if range > 0.0 {
            for triple in order.windows(3) {
                distance[triple[1]] += (value(triple[2]) - value(triple[0])) / range;
            }
        }
    }
    distance
}

/// The volume that `points` dominate up to `reference`; points beyond it count for nothing.
///
/// Exact, by slicing along the last objective: quick for two objectives, fine for hundreds of points with three or four.
///
/// # Panics
/// If a point has another number of objectives than `reference`.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = |point: &&Vec<f64>| {
        assert_eq!(point.len(), reference.len(), "a point of other objectives");
        point.iter().zip(reference).all(|(value, limit)| value < limit)
    };
    let inside: Vec<Vec<f64>> = points.iter().filter(inside).cloned().collect();
    volume(&inside, reference)
}

fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let kept: Vec<&Vec<f64>> = front(points).into_iter().map(|at| &points[at]).collect();
    match reference {
        [] => 0.0,
        [limit] => kept.first().map_or(0.0, |point| limit - point[0]),
        [_, limit] => {
            // Rising in the first value, falling in the second.
            let right = kept.iter().skip(1).map(|point| point[0]).chain([reference[0]]);
            kept.iter().zip(right).map(|(point, right)| (right - point[0]) * (limit - point[1])).sum()
        }
        [rest @ .., limit] => {
            let last = rest.len();
            let mut heights: Vec<f64> = kept.iter().map(|point| point[last]).collect();
            heights.sort_by(f64::total_cmp);
            heights.dedup();
            let tops = heights.iter().skip(1).copied().chain([*limit]);
            let slice = |(height, top): (&f64, f64)| {
                let below: Vec<Vec<f64>> =
                    kept.iter().filter(|point| point[last] <= *height).map(|point| point[..last].to_vec()).collect();
                (top - height) * volume(&below, rest)
            };
            heights.iter().zip(tops).map(slice).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Points on a coarse grid, so that equal values and equal points occur.
    fn points(objectives: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        let value = (0..8_u8).prop_map(f64::from);
        prop::collection::vec(prop::collection::vec(value, objectives), 1..30)
    }

    /// Counts the unit cubes that some point dominates.
    fn by_counting(points: &[Vec<f64>], side: u32, objectives: u32) -> f64 {
        let cubes = 0..side.pow(objectives);
        let covered = cubes.filter(|cube| {
            let corner: Vec<f64> = (0..objectives).map(|of| f64::from(cube / side.pow(of) % side)).collect();
            points.iter().any(|point| point.iter().zip(&corner).all(|(value, corner)| value <= corner))
        });
        covered.count() as f64
    }

    proptest! {
        #[test]
        fn a_front_is_what_nothing_dominates(points in (2..5_usize).prop_flat_map(points)) {
            let kept = front(&points);
            for (at, point) in points.iter().enumerate() {
                let beaten = points.iter().any(|other| dominates(other, point));
                let first_of_equals = points.iter().position(|other| other == point) == Some(at);
                prop_assert_eq!(kept.contains(&at), !beaten && first_of_equals);
            }
        }

        #[test]
        fn layers_hold_every_point_once_and_the_first_is_the_front(points in (2..4_usize).prop_flat_map(points)) {
            let layers = layers(&points);
            let mut all: Vec<usize> = layers.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..points.len()).collect::<Vec<_>>());
            for (depth, layer) in layers.iter().enumerate() {
                for &at in layer {
                    let above = layers[..depth].last();
                    prop_assert!(above.is_none_or(|above| above.iter().any(|&of| dominates(&points[of], &points[at]))));
                    prop_assert!(!layer.iter().any(|&of| dominates(&points[of], &points[at])));
                }
            }
        }

        #[test]
        fn hypervolume_is_what_counting_gives(points in (1..5_usize).prop_flat_map(points)) {
            let objectives = points[0].len();
            let volume = hypervolume(&points, &vec![8.0; objectives]);
            prop_assert!((volume - by_counting(&points, 8, objectives as u32)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_ends_of_a_layer_are_never_crowded() {
        let points = vec![vec![0.0, 4.0], vec![1.0, 3.0], vec![1.5, 2.0], vec![4.0, 0.0]];
        let distance = crowding(&points, &[0, 1, 2, 3]);
        assert!(distance[0].is_infinite() && distance[3].is_infinite());
        assert!((distance[1] - (1.5 / 4.0 + 2.0 / 4.0)).abs() < 1e-12);
        assert!((distance[2] - (3.0 / 4.0 + 3.0 / 4.0)).abs() < 1e-12);
        assert_eq!(crowding(&points, &[2]), [f64::INFINITY]);
    }
}
