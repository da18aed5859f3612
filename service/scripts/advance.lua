-- One step of a replay: some events are delivered again, and its record says so, or neither.
-- KEYS[1]  the replay's record
-- ARGV     replay, the revision it starts from, number of the last event looked at, how many were looked at,
--          when it ended (ms as people read them; '' there is more), most deliveries a second, event...
-- returns  how many were made to wait · -1 the record has moved · -2 not yet: as many as that are on their way
local id, at, looked, ended, rate = ARGV[1], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local rev, state, ws, ep, which = unpack(redis.call('HMGET', KEYS[1], 'rev', 'state', 'ws', 'endpoint', 'which'))
if rev ~= ARGV[2] or state ~= 'running' then return -1 end
local now, made = clock(), 0
if #ARGV > 6 then
  -- All replays together, however many clocks there are: a second's worth at once, and no more than that.
  local tat = math.max(now, tonumber(redis.call('HGET', K.SERVICE, 'replays') or '0'))
  if tat - now > math.max(0, 1000 - (#ARGV - 6) * 1000 / rate) then return -2 end
  local events = {}
  for i = 7, #ARGV do events[i - 6] = ARGV[i] end
  made = again(ws, ep, which, now, false, events)
  if made > 0 then redis.call('HSET', K.SERVICE, 'replays', string.format('%.0f', tat + made * 1000 / rate)) end
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
redis.call('HINCRBY', KEYS[1], 'examined', looked)
redis.call('HINCRBY', KEYS[1], 'revived', made)
redis.call('HSET', KEYS[1], 'at', at)
if ended == '' then
  redis.call('ZADD', K.REPLAYING, now, id)
else
  redis.call('HSET', KEYS[1], 'state', 'done', 'ended_at', ended)
  redis.call('ZREM', K.REPLAYING, id)
  redis.call('ZADD', K.REPLAYED, now, id)
end
return made
