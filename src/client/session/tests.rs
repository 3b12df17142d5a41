use super::fuzz_target::Line;
use super::*;

/// Whatever a client may send without end, it is slowed down: all but a burst waits.
#[test]
fn messages_pings_and_pongs_are_counted() {
    // So slow that the time which reading takes makes no difference.
    const RATE: u32 = 1;
    let limits = Limits { rate: RATE, ..Limits::default() };
    for opcode in [0x81, 0x89, 0x8a] {
        let sent = [opcode, 0x80, 0, 0, 0, 0].repeat(102);
        let mut all = || usize::MAX;
        let mut client = Client::new(Line::new(&sent, &mut all), &limits, limits.max_message);
        let end = client.read_all(|_, _| Ok(()));
        assert!(matches!(end, End::Lost(_)), "{end}");
        // One second for the first that is not of the burst, two for the next, and so on.
        assert!(client.stream.waited > Duration::from_secs(4000), "{opcode:#x} is not counted");
    }
}
