-- The truth of everything that the service decides. Times are milliseconds since the Unix epoch unless the name says otherwise.
-- `seq` orders each list for cursors; bodies are json, not jsonb: rows of other engines may hold U+0000, which jsonb refuses.

create table domain_state (
  domain text primary key,
  frozen boolean not null default false,
  frozen_by text,
  frozen_reason text,
  frozen_at_ms bigint,
  breaker text not null default 'closed' check (breaker in ('closed', 'open')),
  breaker_reason text,
  breaker_at_ms bigint,
  -- Rises with each change of freeze or breaker.
  version bigint not null default 0
);

create table anomalies (
  seq bigint generated always as identity primary key,
  fingerprint text not null unique,
  kind text not null,
  grade text not null,
  domain text,
  collection text,
  object_key text,
  service text,
  count bigint not null,
  first_seen_us bigint not null,
  last_seen_us bigint not null,
  body json not null,
  case_id text,
  recorded_at_ms bigint not null
);
create index anomalies_by_object on anomalies (collection, object_key, last_seen_us);
create index anomalies_by_case on anomalies (case_id) where case_id is not null;

create sequence case_numbers;
create table cases (
  seq bigint not null unique default nextval('case_numbers'),
  id text primary key,
  domain text not null,
  collection text not null,
  fingerprint text not null,
  title text not null,
  rows bigint not null,
  state text not null check (state in ('open', 'proposed', 'waiting', 'repairing', 'closed')),
  cause text,
  returns integer not null default 0,
  opened_at_ms bigint not null,
  updated_at_ms bigint not null,
  closed_at_ms bigint,
  closed_as text,
  -- No proposal is tried before this: set when nobody could propose, so that a hopeless case does not spin.
  retry_at_ms bigint not null default 0,
  attempts integer not null default 0,
  note text
);
create unique index cases_open_by_fingerprint on cases (fingerprint) where state <> 'closed';
create index cases_by_fingerprint on cases (fingerprint, seq desc);
create index cases_by_state on cases (state, seq desc);

create table divergences (
  seq bigint generated always as identity primary key,
  domain text not null,
  collection text not null,
  key_text text not null,
  key json not null,
  is_kind text not null check (is_kind in ('missing', 'extra', 'different')),
  status text not null check (status in ('suspected', 'confirmed', 'resolved')),
  replicas json not null,
  columns text[] not null,
  seen_at json not null,
  case_id text references cases (id),
  first_seen_ms bigint not null,
  confirmed_at_ms bigint,
  resolved_at_ms bigint,
  resolved_as text,
  -- The last comparison that saw it; scans are numbered, since clocks jump.
  seen_in_scan bigint not null default 0,
  updated_at_ms bigint not null
);
create sequence scan_numbers;
create unique index divergences_open_by_key on divergences (collection, key_text) where status <> 'resolved';
create index divergences_by_case on divergences (case_id, seq) where case_id is not null;
create index divergences_by_status on divergences (status, seq desc);
create index divergences_by_key on divergences (collection, key_text);
create index divergences_resolved on divergences (resolved_at_ms) where status = 'resolved';

create sequence proposal_numbers;
create table proposals (
  seq bigint not null unique default nextval('proposal_numbers'),
  id text primary key,
  case_id text not null references cases (id),
  domain text not null,
  collection text not null,
  strategy text not null,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  state text not null check (state in ('waiting', 'planned', 'done', 'denied', 'rejected', 'expired', 'stale', 'superseded')),
  confidence double precision not null,
  rows bigint not null,
  says text not null,
  author text not null,
  choice json not null,
  simulation json not null,
  evidence json not null,
  alternatives json not null,
  effects json not null,
  inverse json not null,
  verdict json not null,
  approvals_needed integer not null,
  snoozed_until_ms bigint,
  superseded_by text,
  decided_reason text,
  created_at_ms bigint not null,
  expires_at_ms bigint not null,
  updated_at_ms bigint not null
);
-- One live proposal a case: a second one would race the first over the same rows.
create unique index proposals_live_by_case on proposals (case_id) where state in ('waiting', 'planned');
create index proposals_by_state on proposals (state, seq desc);
create index proposals_by_case on proposals (case_id, seq desc);

create table approvals (
  seq bigint generated always as identity primary key,
  proposal_id text not null references proposals (id),
  digest text not null,
  by_person text not null,
  is_human boolean not null,
  says text not null check (says in ('approve', 'reject')),
  comment text not null default '',
  at_ms bigint not null,
  unique (proposal_id, by_person)
);

create sequence repair_numbers;
create table repairs (
  seq bigint not null unique default nextval('repair_numbers'),
  id text primary key,
  -- At most one repair a proposal, ever.
  proposal_id text not null unique references proposals (id),
  case_id text not null references cases (id),
  domain text not null,
  collection text not null,
  digest text not null,
  state text not null check (state in ('planned', 'applying', 'verifying', 'sealed', 'stale', 'undoing', 'compensated', 'failed')),
  fence bigint not null default 0,
  claimed_by text,
  claimed_until_ms bigint not null default 0,
  -- Applying: the batch that is next; verifying: the last that went in; undoing: how many are still to be undone.
  batch integer not null default 0,
  rows bigint not null,
  automatic boolean not null,
  approved_by text[] not null,
  undo_asked_by text,
  undo_reason text,
  attempts integer not null default 0,
  retry_at_ms bigint not null default 0,
  last_error text,
  created_at_ms bigint not null,
  updated_at_ms bigint not null,
  undo_until_ms bigint not null
);
create index repairs_by_state on repairs (state, seq desc);
create index repairs_by_domain on repairs (domain, created_at_ms desc);

create table outcomes (
  seq bigint generated always as identity primary key,
  proposal_id text not null unique references proposals (id),
  case_id text not null,
  domain text not null,
  collection text not null,
  strategy text not null,
  chosen_by text not null,
  is_kind text not null,
  confidence double precision not null,
  rows bigint not null,
  reason text,
  at_ms bigint not null
);
create index outcomes_by_strategy on outcomes (domain, strategy, seq desc);

-- A hash chain. `record` is the canonical text that was hashed; the other columns are for lists. Never updated, never deleted.
create table audit (
  seq bigint primary key,
  at_ms bigint not null,
  actor text not null,
  action text not null,
  domain text,
  subject text,
  record text not null,
  hash text not null unique
);
create index audit_by_subject on audit (subject, seq desc);
create index audit_by_domain on audit (domain, seq desc);
create function audit_is_append_only() returns trigger language plpgsql as
$$ begin raise exception 'the audit table is append-only'; end $$;
create trigger audit_append_only before update or delete or truncate on audit execute function audit_is_append_only();

-- A doorbell that has still to ring: written with the change of state that it tells of.
create table outbox (
  id bigint generated always as identity primary key,
  bell text not null,
  subject text not null,
  created_at_ms bigint not null,
  rung_at_ms bigint
);
create index outbox_unrung on outbox (id) where rung_at_ms is null;
create index outbox_rung on outbox (rung_at_ms) where rung_at_ms is not null;

-- What traces said about writes to objects: ties a divergence to the trace that caused it. Bounded by age and count.
create table write_evidence (
  seq bigint generated always as identity primary key,
  collection text not null,
  object_key text not null,
  kind text not null,
  version text,
  version_is_integer boolean not null default false,
  version_base text,
  hlc text not null default '',
  value_digest text not null default '',
  replica_id text not null default '',
  service text not null,
  trace_id text not null,
  span_id text not null,
  span_index integer not null,
  failed boolean not null,
  outcome text not null,
  at_us bigint not null,
  unique (trace_id, span_id, span_index)
);
create index write_evidence_by_object on write_evidence (collection, object_key, at_us desc);

create table series_points (
  collection text not null,
  bucket integer not null,
  region text not null,
  metric text not null,
  step_ms bigint not null,
  at_ms bigint not null,
  value double precision not null,
  primary key (step_ms, at_ms, collection, bucket, region, metric)
);

create table forecasts (
  seq bigint generated always as identity primary key,
  collection text not null,
  bucket integer not null,
  region text not null,
  metric text not null,
  made_at_ms bigint not null,
  served_by text not null,
  body json not null,
  unique (collection, bucket, region, metric)
);

create table suggestions (
  seq bigint generated always as identity primary key,
  id text not null unique,
  kind text not null,
  domain text not null,
  collection text not null,
  state text not null,
  body json not null,
  decided_by text,
  decided_reason text,
  created_at_ms bigint not null,
  updated_at_ms bigint not null
);

create table collection_state (
  collection text primary key,
  last_scan_started_ms bigint,
  last_scan_ended_ms bigint,
  last_scan_equal boolean,
  rows_scanned bigint not null default 0,
  bytes_moved bigint not null default 0,
  rows_fetched bigint not null default 0,
  rounds bigint not null default 0,
  scans bigint not null default 0,
  error text,
  scan_asked_at_ms bigint
);

create table replica_state (
  collection text not null,
  replica text not null,
  is_up boolean not null,
  says text not null,
  position json,
  at_ms bigint not null,
  primary key (collection, replica)
);

create table llm_spend (
  domain text not null,
  day text not null,
  tokens bigint not null default 0,
  calls bigint not null default 0,
  primary key (domain, day)
);

create table counters (
  name text not null,
  labels text not null default '',
  value bigint not null,
  primary key (name, labels)
);
