const log = document.getElementById("messages");
const input = document.getElementById("messageText");
const url = new URL(location.pathname.endsWith("/echo") ? "ws" : "ws/" + Date.now(), location.href);
url.protocol = url.protocol.replace("http", "ws");
const socket = new WebSocket(url);
socket.onmessage = (event) => {
  const item = document.createElement("li");
  item.textContent = event.data;
  log.append(item);
};
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  socket.send(input.value);
  input.value = "";
};
