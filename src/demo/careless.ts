// The corners of the profiles service that nobody has looked at for years. Each does its work, and each is wrong in one way.
import { setTimeout as delay } from 'node:timers/promises';
import { otherRegions } from './regions.ts';
import type { ChildContext } from './shop-child.ts';
import type { Route, ShopAnswer, ShopRequest } from './shop-http.ts';
import { digestOf, recordChange, type Row, versionBefore, versionOf } from './shop-store.ts';
import { homeOf } from './tables.ts';
import { withFacts } from './tracing.ts';

/** A note is kept at home and, by hand, in a second region: two databases, two transactions. */
async function addNote(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const home = homeOf(Number(request.id));
  const [second = home] = otherRegions(home);
  for (const region of [home, second])
    await context.store.pool(region).query('insert into notes (profile_id, body) values ($1, $2)', [request.id, request.body['body']]);
  return { status: 201, body: {} };
}

/** Points are added once for each time that somebody asks. */
async function addPoints(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const region = homeOf(Number(request.id));
  const answer = await context.store.transaction(region, async (client, transaction): Promise<ShopAnswer> => {
    const facts = {
      objectType: 'profiles',
      objectKey: request.id,
      operation: 'write',
      replica: region,
      transaction,
      version: versionOf,
      digest: digestOf,
      base: versionBefore,
    } as const;
    const { rows } = await withFacts(facts, () =>
      client.query<Row>(
        'update profiles set points = points + $1, version = version + 1, updated_at = clock_timestamp() where id = $2 returning *, to_jsonb(profiles.*)::text as body',
        [request.body['points'], request.id],
      ),
    );
    const row = rows[0];
    if (row === undefined) return { status: 404, body: { error: 'no such profile' } };
    const change = { collection: 'profiles', key: request.id, version: Number(row['version']), body: String(row['body']) } as const;
    await recordChange(client, region, change, {});
    return { status: 200, body: row };
  });
  if (request.chaos.slowAnswerMs !== undefined) await delay(request.chaos.slowAnswerMs);
  return answer;
}

/** Reads the counter, thinks, and writes what it has computed. */
async function countVisit(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const pool = context.store.pool('eu');
  const { rows } = await pool.query<{ count: number }>('select count from visits where page = $1', [request.id]);
  await delay(request.chaos.blindMs ?? 0);
  const count = (rows[0]?.count ?? 0) + 1;
  await pool.query('update visits set count = $1 where page = $2', [count, request.id]);
  return { status: 200, body: { count } };
}

/** Moves a customer to a city where none of the two lives already, as far as it saw: write skew, where two do it at once. */
async function moveApart(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const region = homeOf(Number(request.id));
  return context.store.transaction(region, async (client, transaction) => {
    let base: number | undefined;
    for (const id of [request.id, String(request.body['other'])]) {
      const facts = { objectType: 'profiles', objectKey: id, operation: 'read', replica: region, transaction, version: versionOf } as const;
      const { rows } = await withFacts(facts, () => client.query<Row>('select * from profiles where id = $1', [id]));
      base ??= versionOf(rows);
    }
    await delay(request.chaos.blindMs ?? 0);
    const facts = {
      objectType: 'profiles',
      objectKey: request.id,
      operation: 'write',
      replica: region,
      transaction,
      version: versionOf,
      digest: digestOf,
      ...(base === undefined ? {} : { base }),
    } as const;
    const { rows } = await withFacts(facts, () =>
      client.query<Row>(
        'update profiles set city = $1, version = version + 1, updated_at = clock_timestamp() where id = $2 and version = $3 returning *, to_jsonb(profiles.*)::text as body',
        [request.body['city'], request.id, base],
      ),
    );
    const row = rows[0];
    if (row === undefined) return { status: 409, body: { error: 'changed meanwhile' } };
    const change = { collection: 'profiles', key: request.id, version: Number(row['version']), body: String(row['body']) } as const;
    await recordChange(client, region, change, {});
    return { status: 200, body: row };
  });
}

export function carelessRoutes(context: ChildContext): readonly Route[] {
  return [
    { method: 'POST', route: '/profiles/:id/notes', answer: (request) => addNote(context, request) },
    { method: 'POST', route: '/profiles/:id/points', answer: (request) => addPoints(context, request) },
    { method: 'POST', route: '/profiles/:id/apart', answer: (request) => moveApart(context, request) },
    { method: 'POST', route: '/visits/:id', answer: (request) => countVisit(context, request) },
  ];
}
