-- Before-images are kept while a repair can be undone; then the rows of its proposal go, and its digest and its record stay.
alter table proposals add column rows_forgotten boolean not null default false;
create index proposals_with_rows on proposals (updated_at_ms) where not rows_forgotten;
