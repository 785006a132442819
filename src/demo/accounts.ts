// The accounts service: a strict ledger. All writes go to eu, in one transaction with row locks; us and ap only read.
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { isRegion } from './regions.ts';
import { type ChildContext, runShopChild } from './shop-child.ts';
import type { Route, ShopAnswer, ShopRequest } from './shop-http.ts';
import { recordChange, type Row, versionBefore, versionOf } from './shop-store.ts';
import { withFacts } from './tracing.ts';

const ledger = 'eu';

/** Moves an amount between locked rows. The caller has locked them, in the order of their ids, so that transfers cannot deadlock. */
async function post(client: pg.PoolClient, request: ShopRequest, transaction: string, account: string, amount: number): Promise<void> {
  const facts = {
    objectType: 'accounts',
    objectKey: account,
    operation: 'write',
    replica: ledger,
    session: request.session,
    transaction,
    version: versionOf,
    base: versionBefore,
  } as const;
  const { rows } = await withFacts(facts, () =>
    client.query<Row>(
      'update accounts set balance = balance + $1, version = version + 1, updated_at = clock_timestamp() where id = $2 returning *, to_jsonb(accounts.*)::text as body',
      [amount.toFixed(2), account],
    ),
  );
  const row = rows[0];
  if (row === undefined) throw new Error(`no account ${account}`);
  await recordChange(
    client,
    ledger,
    { collection: 'accounts', key: account, version: Number(row['version']), body: String(row['body']) },
    request.chaos,
  );
}

/** Locks both rows in the order of their ids; in the order named, with a pause, where the injector says so. */
async function lockAccounts(
  client: pg.PoolClient,
  from: string,
  to: string,
  pauseMs: number | undefined,
): Promise<readonly { readonly id: string; readonly balance: string }[]> {
  const lock = async (ids: readonly string[]): Promise<readonly { id: string; balance: string }[]> =>
    (
      await client.query<{ id: string; balance: string }>(
        'select id, balance from accounts where id = any($1::bigint[]) order by id for update',
        [ids],
      )
    ).rows;
  if (pauseMs === undefined) return lock([from, to]);
  const first = await lock([from]);
  await delay(pauseMs);
  return [...first, ...(await lock([to]))];
}

async function transfer(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const from = String(request.body['from']);
  const to = String(request.body['to']);
  const amount = Number(request.body['amount']);
  return context.store.transaction(ledger, async (client, transaction) => {
    const rows = await lockAccounts(client, from, to, request.chaos.lockPauseMs);
    const balance = Number(rows.find((row) => row.id === from)?.balance ?? 0);
    // Looked at before anything is written: a refusal leaves no write behind to roll back.
    if (rows.length < 2 || balance < amount) return { status: 409, body: { error: 'not enough money' } };
    const { rowCount } = await client.query(
      'insert into transfers (idempotency_key, from_id, to_id, amount) values ($1, $2, $3, $4) on conflict do nothing',
      [request.body['idempotencyKey'], from, to, amount.toFixed(2)],
    );
    if (rowCount === 0) return { status: 200, body: { repeated: true } };
    await post(client, request, transaction, from, -amount);
    await post(client, request, transaction, to, amount);
    return { status: 201, body: { from, to, amount } };
  });
}

await runShopChild('accounts', (context) => {
  const routes: readonly Route[] = [
    { method: 'POST', route: '/transfers', answer: (request) => transfer(context, request) },
    {
      method: 'GET',
      route: '/accounts/:id',
      async answer(request) {
        const asked = request.query.get('region') ?? '';
        const region = isRegion(asked) ? asked : ledger;
        const facts = {
          objectType: 'accounts',
          objectKey: request.id,
          operation: 'read',
          replica: region,
          session: request.session,
          version: versionOf,
        } as const;
        const { rows } = await withFacts(facts, () =>
          context.store.pool(region).query<Row>('select * from accounts where id = $1', [request.id]),
        );
        return rows[0] === undefined ? { status: 404, body: { error: 'no such account' } } : { status: 200, body: rows[0] };
      },
    },
  ];
  return { routes };
});
