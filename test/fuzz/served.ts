/** Two cards in one thread, each served at a path of its own: one is attacked, and the other's client is to notice nothing. */
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { serve } from '../../vm/vfio-user/server.ts';

const servers = process.argv.slice(2).map((socket) =>
  serve((host) => new E1000(host), {
    socket,
    note: (text) => {
      // Something was thrown; that a client has gone in the middle of an exchange is said in these words, too.
      if (/failed/.test(text) && !/EPIPE|ECONNRESET/.test(text)) console.log(text);
    },
  }),
);
process.once('SIGTERM', () => {
  for (const server of servers) server.close();
  console.log(JSON.stringify(servers.map(({ counters }) => counters)));
});
