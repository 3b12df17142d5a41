//! Ana and Bob, on two nodes.

use crate::kit::program::Program;
use crate::kit::roomd1::Member;
use crate::kit::server::TestServer;
use crate::redis::Redis;

/// Ana is client 1, on the first node, and Bob client 2, on the second. Neither has heard anything yet.
///
/// Who takes it apart takes the engine first, so that it is dropped last.
pub struct Pair {
    pub ana: Member,
    pub bob: Member,
    pub a: TestServer,
    pub b: TestServer,
    pub redis: Redis,
}

impl Pair {
    #[track_caller]
    pub fn start() -> Self {
        Self::on(Redis::start())
    }

    #[track_caller]
    pub fn on(redis: Redis) -> Self {
        Self::in_room(redis, "lobby")
    }

    #[track_caller]
    pub fn in_room(redis: Redis, room: &str) -> Self {
        let (a, b) = (redis.node(), redis.node());
        let ana = Member::named(a.address(), room, 1, "Ana");
        let bob = Member::named(b.address(), room, 2, "Bob");
        Pair { ana, bob, a, b, redis }
    }
}

/// Ana on a node, who has heard Bob come on a program.
#[track_caller]
pub fn and_on(node: &TestServer, program: &Program) -> (Member, Member) {
    let mut ana = Member::named(node.address(), "lobby", 1, "Ana");
    let bob = Member::named(program.address, "lobby", 2, "Bob");
    ana.skip_to("join", "Bob");
    (ana, bob)
}
