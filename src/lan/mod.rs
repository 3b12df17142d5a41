//! How others on the network find the room: the machine's addresses, the QR code of the page's URL,
//! and the banner that shows both at the start.

pub mod addresses;
pub mod banner;
pub mod qr;
