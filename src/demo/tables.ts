import type { Client } from 'pg';
import type { Region } from './regions.ts';

export const seededProfiles = 1_500;
export const seededAccounts = 400;

/** The same tables in each region. `changes` is the shop's own change feed, one row for each region that has to hear of a write. */
const schema = `
create table if not exists profiles (
  id bigint primary key,
  name text not null,
  email text,
  city text,
  points integer not null default 0,
  home text not null,
  version integer not null default 1,
  updated_at timestamptz not null
);
create table if not exists accounts (
  id bigint primary key,
  owner text not null,
  balance numeric(14,2) not null check (balance >= 0),
  version integer not null default 1,
  updated_at timestamptz not null
);
create table if not exists orders (
  id text primary key,
  profile_id bigint not null,
  account_id bigint not null,
  total numeric(12,2) not null,
  status text not null,
  version integer not null default 1,
  updated_at timestamptz not null
);
create table if not exists changes (
  id bigint generated always as identity primary key,
  destination text not null,
  collection text not null,
  key text not null,
  version integer not null,
  body jsonb not null,
  due timestamptz not null,
  is_lost boolean not null default false,
  traceparent text
);
create index if not exists changes_due on changes (destination, due);
create table if not exists transfers (
  idempotency_key text primary key,
  from_id bigint not null,
  to_id bigint not null,
  amount numeric(12,2) not null,
  at timestamptz not null default now()
);
create table if not exists outbox (
  id bigint generated always as identity primary key,
  topic text not null,
  key text not null,
  body jsonb not null,
  traceparent text
);
alter table outbox add column if not exists due timestamptz not null default now();
create table if not exists notes (profile_id bigint not null, body text not null, at timestamptz not null default now());
create table if not exists visits (page text primary key, count integer not null);
insert into visits values ('home', 0) on conflict do nothing;
create table if not exists processed_messages (message_id text primary key, at timestamptz not null default now());
`;

/** Creates the tables of one region, and the same seed rows in each: the regions start equal. */
export async function createTables(client: Client): Promise<void> {
  await client.query(schema);
  const { rows } = await client.query<{ empty: boolean }>('select not exists (select from profiles) as empty');
  if (rows[0]?.empty !== true) return;
  await client.query('begin');
  await client.query(
    `insert into profiles (id, name, email, city, home, updated_at)
     select n, 'Customer ' || n, 'customer' || n || '@example.com', (array['Berlin','Lisbon','Austin','Osaka','Pune','Oslo'])[1 + n % 6],
            (array['eu','us','ap'])[1 + n % 3], timestamptz '2026-01-01' + n * interval '1 minute'
     from generate_series(1, $1::int) n`,
    [seededProfiles],
  );
  await client.query(
    `insert into accounts (id, owner, balance, updated_at)
     select n, 'Customer ' || n, 1000 + n % 500, timestamptz '2026-01-01' + n * interval '1 minute' from generate_series(1, $1::int) n`,
    [seededAccounts],
  );
  await client.query('commit');
}

/** Seeded rows whose number divides by this take no part in ordinary traffic: the injector's faults stay visible until they are repaired. */
export const quietEvery = 4;

/** Where a profile is written: its number says it, seeded or not. */
export function homeOf(profileId: number): Region {
  return (['eu', 'us', 'ap'] as const)[profileId % 3] ?? 'eu';
}

/** The next unused number of profiles and of orders, so that a second run on the same data goes on where the first stopped. */
export async function readHighest(client: Client): Promise<{ readonly profile: number; readonly order: number }> {
  const { rows } = await client.query<{ profile: string | null; order: string }>(
    `select (select max(id) from profiles) as profile,
            (select coalesce(max(substring(id from '[0-9]+$')::bigint), 0) from orders) as "order"`,
  );
  return { profile: Number(rows[0]?.profile ?? 0), order: Number(rows[0]?.order ?? 0) };
}
