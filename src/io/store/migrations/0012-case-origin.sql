-- Which write the rows of a case are traced back to: its service, where it is and where it never came.
alter table cases add column origin json;
