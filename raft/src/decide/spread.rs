//! Which peer collects which node.

use std::collections::BTreeMap;

use crate::model::{Name, PeerId};

/// The moves that give every node a peer of `peers` and leave no peer with two nodes more than another, moving
/// as few nodes as can be. `nodes` says who has each now. Nodes go in name order, ties to the smaller peer id.
pub fn moves(nodes: &BTreeMap<Name, Option<PeerId>>, peers: &[PeerId]) -> Vec<(Name, Option<PeerId>)> {
    moves_beside(&BTreeMap::new(), nodes, peers)
}

/// The same where some nodes can only be collected by some of the peers: these are spread over those first, and the
/// others so that all come out as even as can be.
pub fn moves_of_two(
    choosy: &BTreeMap<Name, Option<PeerId>>,
    able: &[PeerId],
    others: &BTreeMap<Name, Option<PeerId>>,
    peers: &[PeerId],
) -> Vec<(Name, Option<PeerId>)> {
    let mut all = moves(choosy, able);
    let moved: BTreeMap<&Name, Option<PeerId>> = all.iter().map(|(name, to)| (name, *to)).collect();
    let mut beside: BTreeMap<PeerId, usize> = BTreeMap::new();
    for (name, has) in choosy {
        if let Some(peer) = moved.get(name).copied().unwrap_or(*has) {
            *beside.entry(peer).or_default() += 1;
        }
    }
    all.extend(moves_beside(&beside, others, peers));
    all
}

/// `beside` is what peers have that does not move.
fn moves_beside(
    beside: &BTreeMap<PeerId, usize>,
    nodes: &BTreeMap<Name, Option<PeerId>>,
    peers: &[PeerId],
) -> Vec<(Name, Option<PeerId>)> {
    if peers.is_empty() {
        return nodes.iter().filter(|(_, has)| has.is_some()).map(|(name, _)| (name.clone(), None)).collect();
    }
    let mut loads: BTreeMap<PeerId, Vec<&Name>> = peers.iter().map(|peer| (*peer, Vec::new())).collect();
    let mut homeless = Vec::new();
    for (name, has) in nodes {
        match has.and_then(|peer| loads.get_mut(&peer)) {
            Some(load) => load.push(name),
            None => homeless.push(name),
        }
    }
    let mut moves = BTreeMap::new();
    let weight = |peer: &PeerId, load: &Vec<&Name>| load.len() + beside.get(peer).copied().unwrap_or(0);
    let lightest = |loads: &BTreeMap<PeerId, Vec<&Name>>| {
        let least = loads.iter().map(|(peer, load)| (weight(peer, load), *peer)).min();
        least.map(|(weight, peer)| (peer, weight)).unwrap_or_default()
    };
    for name in homeless {
        let (peer, _) = lightest(&loads);
        loads.entry(peer).or_default().push(name);
        moves.insert(name.clone(), Some(peer));
    }
    loop {
        let (light, least) = lightest(&loads);
        let movable = loads.iter().filter(|(_, load)| !load.is_empty());
        let heavy = movable.map(|(peer, load)| (weight(peer, load), std::cmp::Reverse(*peer))).max();
        let Some((most, std::cmp::Reverse(heavy))) = heavy else { break };
        if most <= least + 1 {
            break;
        }
        let Some(name) = loads.get_mut(&heavy).and_then(Vec::pop) else { break };
        loads.entry(light).or_default().push(name);
        moves.insert(name.clone(), Some(light));
    }
    moves.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn carry_out(nodes: &mut BTreeMap<Name, Option<PeerId>>, peers: &[PeerId]) -> usize {
        let moves = moves(nodes, peers);
        let count = moves.len();
        nodes.extend(moves);
        count
    }

    fn fleet(count: usize) -> BTreeMap<Name, Option<PeerId>> {
        (0..count).map(|i| (Name::new(&format!("n{i:03}")).unwrap(), None)).collect()
    }

    #[test]
    fn a_lost_peers_nodes_go_to_the_others_and_only_they_move() {
        let mut nodes = fleet(9);
        carry_out(&mut nodes, &[PeerId(1), PeerId(2), PeerId(3)]);
        let before = nodes.clone();
        let moved = carry_out(&mut nodes, &[PeerId(1), PeerId(3)]);
        assert_eq!(moved, 3);
        assert!(nodes.iter().all(|(n, p)| before[n] == Some(PeerId(2)) || before[n] == *p));
    }

    #[test]
    fn without_peers_nobody_collects() {
        let mut nodes = fleet(3);
        carry_out(&mut nodes, &[PeerId(1)]);
        carry_out(&mut nodes, &[]);
        assert!(nodes.values().all(Option::is_none));
    }

    #[test]
    fn nodes_that_need_a_certain_peer_go_there_and_the_others_make_up_for_it() {
        let choosy: BTreeMap<_, _> = (0..4).map(|i| (Name::new(&format!("j{i}")).unwrap(), None)).collect();
        let all = moves_of_two(&choosy, &[PeerId(2)], &fleet(8), &[PeerId(1), PeerId(2), PeerId(3)]);
        let of = |peer| all.iter().filter(|(_, to)| *to == Some(PeerId(peer))).count();
        assert_eq!([of(1), of(2), of(3)], [4, 4, 4]);
        assert!(all.iter().all(|(name, to)| !choosy.contains_key(name) || *to == Some(PeerId(2))));
        let (mut choosy, mut others) = (choosy, fleet(8));
        for (name, to) in all {
            if choosy.contains_key(&name) { &mut choosy } else { &mut others }.insert(name, to);
        }
        let again = moves_of_two(&choosy, &[PeerId(2)], &others, &[PeerId(1), PeerId(2), PeerId(3)]);
        assert_eq!(again, []);
    }

    proptest! {
        #[test]
        fn loads_differ_by_one_at_most_and_a_second_look_moves_nothing(
            count in 0usize..60, first in 1u64..6, second in 1u64..6,
        ) {
            let mut nodes = fleet(count);
            carry_out(&mut nodes, &(1..=first).map(PeerId).collect::<Vec<_>>());
            let peers: Vec<_> = (2..=second + 1).map(PeerId).collect();
            carry_out(&mut nodes, &peers);
            let loads: Vec<_> = peers.iter().map(|p| nodes.values().filter(|n| **n == Some(*p)).count()).collect();
            prop_assert_eq!(loads.iter().sum::<usize>(), count);
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            prop_assert_eq!(carry_out(&mut nodes, &peers), 0);
        }
    }
}
