//! The names of what a node has in the engine.

/// How often each node shows that it lives.
pub const BEATS: &str = "roomd:beats";
/// The nodes that were declared dead, with the time of it.
pub const GONE: &str = "roomd:gone";
/// What tags are made with.
pub const SECRET: &str = "roomd:secret";

/// The keys of a room, in the order in which its scripts take them.
pub fn of_room(room: &str, node: &str) -> [String; 12] {
    let key = |name: &str| format!("roomd:{{{room}}}:{name}");
    [
        log(room),
        key("meta"),
        key("people"),
        key("last"),
        key("names"),
        key("absent"),
        key("keys"),
        key("keyage"),
        key("epochs"),
        key(&format!("on:{node}")),
        GONE.into(),
        rooms(node),
    ]
}

/// The log of a room.
pub fn log(room: &str) -> String {
    format!("roomd:{{{room}}}:log")
}

/// The rooms in which a node is.
pub fn rooms(node: &str) -> String {
    format!("roomd:rooms:{node}")
}

/// A stream by which a node's writer wakes its reader.
pub fn wake(node: &str) -> String {
    format!("roomd:wake:{node}")
}
