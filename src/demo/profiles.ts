// The profiles service: each profile is written in its home region, under an optimistic lock, and read anywhere.
import { setTimeout as delay } from 'node:timers/promises';
import { SpanKind, ROOT_CONTEXT } from '@opentelemetry/api';
import type pg from 'pg';
import { isRegion, type Region } from './regions.ts';
import { carelessRoutes } from './careless.ts';
import { type ChildContext, runShopChild } from './shop-child.ts';
import { linkFrom, type Route, type ShopAnswer, type ShopRequest } from './shop-http.ts';
import { digestOf, recordChange, type Row, versionBefore, versionOf } from './shop-store.ts';
import { homeOf } from './tables.ts';
import { withFacts } from './tracing.ts';

const attempts = 5;

async function readProfile(
  client: pg.Pool | pg.PoolClient,
  region: Region,
  id: string,
  session: string | undefined,
): Promise<Row | undefined> {
  const facts = { objectType: 'profiles', objectKey: id, operation: 'read', replica: region, session, version: versionOf } as const;
  const { rows } = await withFacts(facts, () => client.query<Row>('select * from profiles where id = $1', [id]));
  return rows[0];
}

/** One read and one write. Undefined: somebody wrote in between. */
async function changeCity(context: ChildContext, request: ShopRequest, region: Region): Promise<ShopAnswer | undefined> {
  return context.store.transaction(region, async (client, transaction) => {
    const before = await readProfile(client, region, request.id, request.session);
    if (before === undefined) return { status: 404, body: { error: 'no such profile' } };
    const base = Number(before['version']);
    if (request.chaos.blindMs !== undefined) await delay(request.chaos.blindMs);
    const facts = {
      objectType: 'profiles',
      objectKey: request.id,
      operation: 'write',
      replica: region,
      session: request.session,
      transaction,
      version: versionOf,
      digest: digestOf,
      base,
    } as const;
    const { rows } = await withFacts(facts, () =>
      request.chaos.blindMs === undefined
        ? client.query<Row>(
            'update profiles set city = $1, version = version + 1, updated_at = clock_timestamp() where id = $2 and version = $3 returning *, to_jsonb(profiles.*)::text as body',
            [request.body['city'], request.id, base],
          )
        : client.query<Row>(
            'update profiles set city = $1, version = version + 1, updated_at = clock_timestamp() where id = $2 returning *, to_jsonb(profiles.*)::text as body',
            [request.body['city'], request.id],
          ),
    );
    const row = rows[0];
    if (row === undefined) return undefined;
    await recordChange(
      client,
      region,
      { collection: 'profiles', key: request.id, version: Number(row['version']), body: String(row['body']) },
      request.chaos,
    );
    return { status: 200, body: row };
  });
}

async function createProfile(context: ChildContext, request: ShopRequest): Promise<ShopAnswer> {
  const id = String(request.body['id']);
  const region = homeOf(Number(id));
  const facts = {
    objectType: 'profiles',
    objectKey: id,
    operation: 'write',
    replica: region,
    session: request.session,
    version: versionOf,
    digest: digestOf,
    base: '',
  } as const;
  return context.store.transaction(region, async (client, transaction) => {
    const { rows } = await withFacts({ ...facts, transaction }, () =>
      client.query<Row>(
        `insert into profiles (id, name, email, city, home, updated_at) values ($1, $2, $3, $4, $5, clock_timestamp()) returning *, to_jsonb(profiles.*)::text as body`,
        [id, request.body['name'], request.body['email'], request.body['city'], region],
      ),
    );
    const row = rows[0] ?? {};
    await recordChange(client, region, { collection: 'profiles', key: id, version: 1, body: String(row['body']) }, request.chaos);
    return { status: 201, body: row };
  });
}

/** Points for an order: the message is counted once, however often it comes. */
async function takeMessage(context: ChildContext, request: ShopRequest, carrier: Readonly<Record<string, string>>): Promise<ShopAnswer> {
  const { topic, messageId, profileId, points, key: messageKey, lookUp, region: lookIn } = request.body;
  const producer = linkFrom(carrier).context;
  return context.tracing.tracer.startActiveSpan(
    `process ${String(topic)}`,
    {
      kind: SpanKind.CONSUMER,
      attributes: {
        'messaging.system': 'shopbus',
        'messaging.destination.name': String(topic),
        'messaging.operation.type': 'process',
        'messaging.operation.name': 'process',
        'messaging.message.id': String(messageId),
        'messaging.consumer.group.name': 'profiles',
        ...(typeof messageKey === 'string' ? { 'messaging.kafka.message.key': messageKey } : {}),
      },
      links: producer === undefined ? [] : [{ context: producer }],
    },
    ROOT_CONTEXT,
    async (span) => {
      try {
        const key = String(profileId);
        const region = homeOf(Number(profileId));
        const asked = typeof lookIn === 'string' ? lookIn : '';
        if (lookUp !== undefined && isRegion(asked)) await context.store.pool(asked).query('select * from orders where id = $1', [lookUp]);
        await context.store.transaction(region, async (client, transaction) => {
          const { rowCount } = await client.query('insert into processed_messages (message_id) values ($1) on conflict do nothing', [
            messageId,
          ]);
          if (rowCount === 0 && request.chaos.deliverTwice !== true) return;
          const facts = {
            objectType: 'profiles',
            objectKey: key,
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
              [points, key],
            ),
          );
          const row = rows[0];
          if (row !== undefined)
            await recordChange(
              client,
              region,
              { collection: 'profiles', key, version: Number(row['version']), body: String(row['body']) },
              {},
            );
        });
        return { status: 200, body: { traceId: span.spanContext().traceId } };
      } finally {
        span.end();
      }
    },
  );
}

await runShopChild('profiles', (context) => {
  const routes: readonly Route[] = [
    {
      method: 'GET',
      route: '/profiles/:id',
      async answer(request) {
        const asked = request.query.get('region') ?? '';
        const region = isRegion(asked) ? asked : homeOf(Number(request.id));
        if (request.query.get('reader') === 'yes') {
          // What the reader endpoint gives is shown as it comes: nobody looks how old it is.
          const { rows } = await context.store.reader(region).query<Row>('select * from profiles where id = $1', [request.id]);
          return rows[0] === undefined ? { status: 404, body: { error: 'no such profile' } } : { status: 200, body: rows[0] };
        }
        const row = await readProfile(context.store.pool(region), region, request.id, request.session);
        return row === undefined ? { status: 404, body: { error: 'no such profile' } } : { status: 200, body: row };
      },
    },
    {
      method: 'PATCH',
      route: '/profiles/:id',
      async answer(request) {
        const region = request.chaos.at ?? homeOf(Number(request.id));
        for (let attempt = 0; attempt < attempts; attempt += 1) {
          const answer = await changeCity(context, request, region);
          if (answer !== undefined) return answer;
        }
        return { status: 409, body: { error: 'others write this profile all the time' } };
      },
    },
    { method: 'POST', route: '/profiles', answer: (request) => createProfile(context, request) },
    ...carelessRoutes(context),
    { method: 'POST', route: '/messages', isMessage: true, answer: (request, carrier) => takeMessage(context, request, carrier) },
  ];
  return { routes };
});
