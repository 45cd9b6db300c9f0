-- Since when the notification of an interval is owed that is not told yet. The next ones are due so many intervals after it, however late it is told.
alter table mim.subscriptions add column owed timestamptz;
-- Up to which entity it was told.
alter table mim.subscriptions add column told_to text collate "C";
-- Who tells it. It is due again when this hold ends; so who knows of no holds keeps to it, too.
alter table mim.subscriptions add column hold uuid;
-- How often it was tried, one failure after the other.
alter table mim.subscriptions add column failures integer;
