-- Remove a final job with its events and its own endpoint, unless something of it is still owed.
-- KEYS[1]  the job's record
-- ARGV     job, workspace, revision, the job's own endpoint or '', event...
-- returns  1 pruned · 0 something is open or the job has moved
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[3] then return 0 end
for i = 5, #ARGV do
  if tonumber(redis.call('HGET', K.event(ARGV[i]), 'open') or '0') > 0 then return 0 end
end
for i = 5, #ARGV do
  redis.call('DEL', K.event(ARGV[i]))
  redis.call('ZREM', K.events(ARGV[2]), ARGV[i])
end
if ARGV[4] ~= '' then redis.call('DEL', K.endpoint(ARGV[4]), K.wait(ARGV[4]), K.late(ARGV[4])) end
redis.call('DEL', KEYS[1])
redis.call('ZREM', K.FINAL, ARGV[1])
redis.call('ZREM', K.jobs(ARGV[2]), ARGV[1])
return 1
