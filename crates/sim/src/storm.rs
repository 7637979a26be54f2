//! Random faults.

use std::time::Duration;

use kinex_core::worker::Departure;

use crate::network::{between, chance};
use crate::scenario::Fault;
use crate::world::{Happening, World};

/// Draws a fault, lets it happen, and draws when the next one comes.
pub(crate) fn strike(world: &mut World<'_>) {
    let Some(storm) = world.scenario.storm.clone().filter(|_| !world.calm) else {
        return;
    };
    if let Some(fault) = draw(world, &storm.weights) {
        world.strike(fault);
    }
    let next = between(&mut world.rng, storm.every / 4, storm.every * 7 / 4);
    world.after(next, Happening::Storm);
}

fn draw(world: &mut World<'_>, weights: &[u64]) -> Option<Fault> {
    let failover_after = world.scenario.config.failover_after;
    let left = world.scenario.faults_for.saturating_sub(world.now);
    let worker = usize::try_from(world.rng.rand_range(0..world.scenario.workers as u64)).ok()?;
    let running = world.running(worker).is_some();
    let mut pick = world.rng.rand_range(0..weights.iter().sum::<u64>().max(1));
    let kind = weights.iter().position(|weight| {
        let hit = pick < *weight;
        pick = pick.saturating_sub(*weight);
        hit
    })?;
    let span = |world: &mut World<'_>, low: Duration, high: Duration| between(&mut world.rng, low, high).min(left);
    let again = |world: &mut World<'_>| {
        let soon = chance(&mut world.rng, 500);
        Some(if soon {
            between(&mut world.rng, Duration::from_millis(200), Duration::from_secs(3))
        } else {
            between(&mut world.rng, Duration::from_secs(3), failover_after * 2)
        })
    };
    Some(match kind {
        0 => Fault::Pause {
            worker,
            lasts: span(world, Duration::from_millis(500), failover_after),
        },
        1 => Fault::Pause {
            worker,
            lasts: span(world, failover_after, failover_after * 3),
        },
        2 | 3 => Fault::Crash {
            worker,
            witness: kind == 3,
            again: again(world),
        },
        4 => Fault::Start(worker),
        5 => Fault::Depart {
            worker,
            how: Departure::Release,
            again: again(world),
        },
        6 => Fault::Depart {
            worker,
            how: Departure::Reserve(Duration::from_secs(20)),
            again: again(world),
        },
        7 => Fault::RemoveRow(worker),
        8 => Fault::Hang {
            worker,
            lasts: span(world, failover_after / 2, failover_after * 3),
        },
        9 => Fault::Cut {
            worker,
            lasts: span(world, failover_after / 4, failover_after * 2),
        },
        10 => Fault::Mute {
            worker,
            lasts: span(world, failover_after / 2, failover_after * 3 / 2),
        },
        _ if world.shards.len() < world.scenario.shards * 2 => Fault::Split(worker),
        _ if !running => Fault::Start(worker),
        _ => return None,
    })
}
