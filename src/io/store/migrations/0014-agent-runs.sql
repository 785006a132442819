-- A scan stays open in the agent that began it: what goes on with it is for that agent alone.
alter table agent_calls add column holder text;

-- When each run of an agent was last heard of.
create table agent_runs (
  agent text primary key,
  collection text not null,
  replica text not null,
  seen_at timestamptz not null
);
