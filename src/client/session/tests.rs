use super::trial::Line;
use super::*;

/// Whatever a client may send without end, it is slowed down: more than a burst takes its time.
#[test]
fn messages_pings_and_pongs_are_counted() {
    const RATE: u32 = 1000;
    let limits = Limits { rate: RATE, ..Limits::default() };
    for opcode in [0x81, 0x89, 0x8a] {
        let sent = [opcode, 0x80, 0, 0, 0, 0].repeat(RATE as usize * 2 + 100);
        let start = Instant::now();
        let mut all = || usize::MAX;
        let mut client = Client::new(Line::new(&sent, &mut all), &limits);
        let end = client.read_all(|_, _| Ok(()));
        assert!(matches!(end, End::Lost(_)), "{end}");
        assert!(start.elapsed() >= Duration::from_millis(50), "{opcode:#x} is not counted");
    }
}
