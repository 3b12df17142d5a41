// The contract of contract.py for Node.
'use strict';

const [url, offer, ...texts] = process.argv.slice(2);

module.exports = {
  url,
  offers: offer ? [offer] : [],
  say: (value) => console.log(JSON.stringify(value)),
  fail: (error) => {
    console.error(error?.message ?? error);
    process.exit(1);
  },
  // Sends the texts one by one as the answers come in, then closes.
  converse: (send, close) => {
    const rest = [...texts];
    const next = () => {
      if (rest.length) send(rest.shift());
      else close();
    };
    if (texts.length) next();
    return (answer) => {
      module.exports.say(answer);
      next();
    };
  },
};
