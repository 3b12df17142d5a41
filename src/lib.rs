//! A chat room and message hub for small hosts: one WebSocket room, one echo endpoint, one page, one port.
