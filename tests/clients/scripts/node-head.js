'use strict';
const http = require('http');

// As a proxy has it: a connection that is kept and used again.
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const head = (rest) => {
  const request = http.request(process.argv[2], { method: 'HEAD', agent }, (response) => {
    response.resume();
    response.on('end', () => {
      if (rest) return head(rest - 1);
      console.log(response.statusCode);
      agent.destroy();
    });
  });
  request.on('error', (error) => {
    console.error(error.message);
    process.exit(1);
  });
  request.end();
};
head(1);
