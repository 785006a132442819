'use strict';
// A small service as people write them: it reads an account, computes, and writes it back. It knows nothing of tracing.
const http = require('node:http');
const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL });

async function deposit(id, amount) {
  const { rows } = await pool.query('SELECT id, balance, version FROM accounts WHERE id = $1', [id]);
  // Asks the rates, as such services do, while another request does the same.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await pool.query('UPDATE accounts SET balance = $1, version = $2 WHERE id = $3', [rows[0].balance + amount, rows[0].version + 1, id]);
}

const server = http.createServer((request, response) => {
  const [, , id, amount] = request.url.split('/');
  deposit(id, Number(amount)).then(
    () => response.end('done'),
    (error) => {
      response.statusCode = 500;
      response.end(String(error));
    },
  );
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.on('SIGTERM', () => server.close(() => void pool.end()));
