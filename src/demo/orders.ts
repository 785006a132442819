// The orders service. An order is a saga: take the money, then record the order; where that fails, give the money back. What
// others must hear goes through an outbox, except for gift cards, whose old code path publishes by itself after the commit.
import { setTimeout as delay } from 'node:timers/promises';
import { context as active, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type pg from 'pg';
import { type Chaos, isRegion, type Region, regions } from './regions.ts';
import { type ChildContext, runShopChild } from './shop-child.ts';
import { callShop, linkFrom, type Route, sendRequest, type ShopAnswer, type ShopRequest } from './shop-http.ts';
import { currentTraceparent, recordChange, type Row, versionOf } from './shop-store.ts';
import { withAttributes, withFacts } from './tracing.ts';

/** The account that is paid into. */
const tillAccount = '1';
const relayEveryMs = 100;
const hurryMs = 400;
const patientMs = 15_000;

function regionOf(id: string): Region {
  const region = id.split('-')[1] ?? '';
  return isRegion(region) ? region : 'eu';
}

async function insertOrder(
  context: ChildContext,
  request: ShopRequest,
  topic: string | undefined,
  beforeCommit?: () => Promise<unknown>,
): Promise<Row> {
  const id = String(request.body['id']);
  const region = regionOf(id);
  return context.store.transaction(region, async (client, transaction) => {
    const facts = {
      objectType: 'orders',
      objectKey: id,
      operation: 'write',
      replica: region,
      session: request.session,
      transaction,
      version: versionOf,
      base: '',
    } as const;
    const { rows } = await withFacts(facts, () =>
      client.query<Row>(
        `insert into orders (id, profile_id, account_id, total, status, updated_at) values ($1, $2, $3, $4, 'placed', clock_timestamp()) returning *, to_jsonb(orders.*)::text as body`,
        [id, request.body['profileId'], request.body['accountId'], Number(request.body['total']).toFixed(2)],
      ),
    );
    const row = rows[0] ?? {};
    await recordChange(client, region, { collection: 'orders', key: id, version: 1, body: String(row['body']) }, request.chaos);
    if (topic !== undefined) await writeOutbox(client, topic, id, { profileId: request.body['profileId'], points: 10 }, request.chaos);
    await beforeCommit?.();
    return row;
  });
}

/** What others must hear, in the transaction of the write. The id of the row travels on both sides' spans. */
async function writeOutbox(client: pg.PoolClient, topic: string, key: string, body: Row, chaos: Chaos): Promise<void> {
  await withAttributes({ 'consistency.outbox.id': `${topic}:${key}` }, () =>
    client.query(
      `insert into outbox (topic, key, body, traceparent, due) values ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 ms')`,
      [topic, key, JSON.stringify(body), currentTraceparent(), chaos.stuckMs ?? 0],
    ),
  );
}

/** One step of the saga in a span that says so. */
async function sagaStep<T>(
  context: ChildContext,
  saga: string,
  step: string,
  operation: 'write' | 'compensate',
  run: (span: Span) => Promise<{ readonly ok: boolean; readonly value: T }>,
): Promise<{ readonly ok: boolean; readonly value: T }> {
  const attributes = {
    'consistency.saga.id': saga,
    'consistency.saga.name': 'place-order',
    'consistency.saga.step': step,
    ...(operation === 'compensate' ? { 'consistency.operation': 'compensate' } : {}),
  };
  return context.tracing.tracer.startActiveSpan(`saga ${step}`, { kind: SpanKind.INTERNAL, attributes }, async (span) => {
    try {
      const result = await run(span);
      span.setAttribute('consistency.saga.outcome', result.ok ? 'succeeded' : 'failed');
      if (!result.ok) span.setStatus({ code: SpanStatusCode.ERROR });
      return result;
    } finally {
      span.end();
    }
  });
}

async function placeOrder(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const id = String(request.body['id']);
  const accounts = context.settings.peers['accounts'] ?? '';
  const account = String(request.body['accountId']);
  const move = (from: string, to: string, reason: string) => async () => {
    const reply = await callShop(context.tracing.tracer, 'POST', `${accounts}/transfers`, {
      from,
      to,
      amount: request.body['total'],
      idempotencyKey: `${reason}:${id}`,
    });
    return { ok: reply.status < 300, value: reply.body };
  };
  const paid = await sagaStep(context, id, 'take-payment', 'write', move(account, tillAccount, 'pay'));
  if (!paid.ok) return { status: 402, body: { error: 'not paid' } };
  const recorded = await sagaStep(context, id, 'record-order', 'write', async () =>
    request.body['outOfStock'] === true
      ? { ok: false, value: {} }
      : { ok: true, value: await insertOrder(context, request, 'orders.placed') },
  );
  if (recorded.ok) return { status: 201, body: recorded.value };
  if (request.chaos.keepMoney === true) return { status: 409, body: { error: 'out of stock' } };
  await sagaStep(context, id, 'take-payment', 'compensate', move(tillAccount, account, 'refund'));
  return { status: 409, body: { error: 'out of stock, money returned' } };
}

/** Messages that the broker has and does not deliver yet, by topic and key. */
const held = new Map<string, () => void>();
const heldPollMs = 20;
/** Spans begin on whole milliseconds and end between them: what is to be seen one after the other is further apart than that. */
const clockStepMs = 3;
const heldMaxMs = 20_000;

/** Sends a message to whoever takes `topic`: a producer span, the message's id and context in the request. */
async function publish(
  context: ChildContext,
  topic: string,
  messageId: string,
  body: Readonly<Record<string, unknown>>,
  options: { readonly chaos?: Chaos; readonly traceparent?: string | null; readonly root?: boolean; readonly key?: string },
): Promise<readonly string[]> {
  const line = `${topic} ${options.key ?? ''}`;
  if (options.chaos?.overtakeHeld === true) {
    while (!held.has(line))
      await delay(heldPollMs, undefined, { signal: AbortSignal.any([context.signal, AbortSignal.timeout(heldMaxMs)]) });
    await delay(clockStepMs);
  }
  const origin =
    options.traceparent === undefined || options.traceparent === null ? undefined : linkFrom({ traceparent: options.traceparent }).context;
  return context.tracing.tracer.startActiveSpan(
    `send ${topic}`,
    {
      kind: SpanKind.PRODUCER,
      attributes: {
        'messaging.system': 'shopbus',
        'messaging.destination.name': topic,
        'messaging.operation.type': 'send',
        'messaging.operation.name': 'send',
        'messaging.message.id': messageId,
        ...(options.key === undefined ? {} : { 'messaging.kafka.message.key': options.key }),
        // Only what comes from the outbox has been announced there.
        ...(options.root === true ? { 'consistency.outbox.id': messageId } : {}),
      },
      links: origin === undefined ? [] : [{ context: origin }],
    },
    options.root === true ? ROOT_CONTEXT : active.active(),
    async (span) => {
      try {
        const { chaos = {} } = options;
        if (chaos.loseMessage === true) throw new Error('broker unavailable');
        const headers: Record<string, string> = { 'x-chaos': JSON.stringify(chaos) };
        propagation.inject(active.active(), headers);
        if (chaos.forgetMessage === true) return [];
        if (chaos.holdMessage === true) {
          // Taken: for the producer the matter ends here.
          span.end();
          await new Promise<void>((resolve) => {
            held.set(line, resolve);
            setTimeout(resolve, heldMaxMs);
          });
          held.delete(line);
        }
        const traces: string[] = [];
        for (let delivery = 0; delivery < (chaos.deliverTwice === true ? 2 : 1); delivery += 1) {
          const url = `${context.settings.peers['profiles'] ?? ''}/messages`;
          const reply = await sendRequest('POST', url, { topic, messageId, key: options.key, ...body }, headers);
          if (reply.status >= 300) throw new Error(`the consumer answered ${reply.status}`);
          traces.push(String(reply.body['traceId']));
        }
        if (held.has(line)) await delay(clockStepMs);
        held.get(line)?.();
        return traces;
      } catch (error) {
        span.recordException(error instanceof Error ? error : String(error));
        span.setAttribute('error.type', 'broker_unavailable');
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
        throw error;
      } finally {
        span.end();
      }
    },
  );
}

async function issueGiftCard(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const id = String(request.body['id']);
  const { chaos } = request;
  const announce = (lookUp: boolean): Promise<readonly string[]> => {
    const body = { profileId: request.body['profileId'], points: 5, ...(lookUp ? { lookUp: id, region: regionOf(id) } : {}) };
    return publish(context, 'giftcards.issued', `giftcard:${id}`, body, { chaos, key: String(request.body['profileId']) });
  };
  if (chaos.announceEarlyMs !== undefined) {
    let consumers: readonly string[] = [];
    const early = await insertOrder(context, request, undefined, async () => {
      consumers = await announce(true);
      await delay(chaos.announceEarlyMs);
    });
    return { status: 201, body: { ...early, consumers } };
  }
  const row = await insertOrder(context, request, undefined);
  try {
    const consumers = await announce(false);
    return { status: 201, body: { ...row, consumers } };
  } catch {
    // As in so many shops: logged somewhere, and the order stands without its message.
    return { status: 202, body: row };
  }
}

/** A voucher is recorded, and then paid for elsewhere: without the key that the accounts ask for, so that they refuse. */
async function issueVoucher(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const row = await insertOrder(context, request, undefined);
  const accounts = context.settings.peers['accounts'] ?? '';
  const body = { from: request.body['accountId'], to: tillAccount, amount: request.body['total'] };
  const paid = await callShop(context.tracing.tracer, 'POST', `${accounts}/transfers`, body);
  return paid.status < 300 ? { status: 201, body: row } : { status: 502, body: { error: 'not paid' } };
}

/** A client in a hurry: gives up after a moment and asks again, with nothing by which the other side could tell. */
async function giveBonus(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const url = `${context.settings.peers['profiles'] ?? ''}/profiles/${request.id}/points`;
  const ask = (chaos: Chaos, timeoutMs: number): Promise<unknown> =>
    callShop(context.tracing.tracer, 'POST', url, { points: 1 }, { chaos, timeoutMs });
  try {
    await ask(request.chaos, hurryMs);
  } catch {
    await ask({}, patientMs);
  }
  return { status: 200, body: {} };
}

async function ship(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const region = regionOf(request.id);
  return context.store.transaction(region, async (client, transaction) => {
    const read = {
      objectType: 'orders',
      objectKey: request.id,
      operation: 'read',
      replica: region,
      transaction,
      version: versionOf,
    } as const;
    const { rows: before } = await withFacts(read, () => client.query<Row>('select * from orders where id = $1', [request.id]));
    const base = versionOf(before);
    if (base === undefined) return { status: 404, body: { error: 'no such order' } };
    const { rows } = await withFacts({ ...read, operation: 'write', base }, () =>
      client.query<Row>(
        `update orders set status = 'shipped', version = version + 1, updated_at = clock_timestamp() where id = $1 and version = $2 returning *, to_jsonb(orders.*)::text as body`,
        [request.id, base],
      ),
    );
    const row = rows[0];
    if (row === undefined) return { status: 409, body: { error: 'changed meanwhile' } };
    await recordChange(
      client,
      region,
      { collection: 'orders', key: request.id, version: Number(row['version']), body: String(row['body']) },
      request.chaos,
    );
    return { status: 200, body: row };
  });
}

/** Publishes what the outbox holds, oldest first, and forgets it: at least once, and the consumer counts each message once. */
async function relayOutbox(context: ChildContext, region: Region): Promise<void> {
  const { rows } = await context.store
    .pool(region)
    .query<{ id: string; topic: string; key: string; body: Row; traceparent: string | null }>(
      'select * from outbox where due <= clock_timestamp() order by id limit 50',
    );
  for (const row of rows) {
    if (context.signal.aborted) return;
    await publish(context, row.topic, `${row.topic}:${row.key}`, row.body, { traceparent: row.traceparent, root: true });
    await context.store.pool(region).query('delete from outbox where id = $1', [row.id]);
  }
}

async function relayUntilStopped(context: ChildContext): Promise<void> {
  while (!context.signal.aborted) {
    // A broker that is down or a database that restarts: the rows stay, the next round tries again.
    for (const region of regions) await relayOutbox(context, region).catch(() => undefined);
    await delay(relayEveryMs, undefined, { signal: context.signal }).catch(() => undefined);
  }
}

await runShopChild('orders', (context) => {
  const routes: readonly Route[] = [
    { method: 'POST', route: '/orders', answer: (request) => placeOrder(context, request) },
    { method: 'POST', route: '/giftcards', answer: (request) => issueGiftCard(context, request) },
    { method: 'POST', route: '/vouchers', answer: (request) => issueVoucher(context, request) },
    { method: 'POST', route: '/bonuses/:id', answer: (request) => giveBonus(context, request) },
    { method: 'PATCH', route: '/orders/:id', answer: (request) => ship(context, request) },
  ];
  return { routes, work: relayUntilStopped(context) };
});
