-- Deliver again: what has ended, or was never there, waits anew with its whole schedule before it.
-- ARGV     workspace, endpoint, which (letters of the states meant: p r d x c; - never there), how (now: also what
--          waits is due at once), event...
-- returns  how many were made to wait, how many are under way just now, how many were left as they are
local ws, ep, which, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, revived, flying_now, left = clock(), 0, 0, 0
local s = pace(ep)

local function wait_for(event, seq)
  if s.ordered then
    redis.call('ZADD', K.line(ep), seq, event)
    redis.call('HDEL', K.endpoint(ep), 'next')
    s.next = 0
  else
    redis.call('ZREM', K.wait(ep), event)
    redis.call('ZADD', K.late(ep), now, event)
  end
  revived = revived + 1
end

for i = 5, #ARGV do
  local event = ARGV[i]
  local key = K.event(event)
  local owner, seq, line = unpack(redis.call('HMGET', key, 'ws', 'seq', ep))
  local state, holder, log = string.match(line or '', '^(%a)|%d+|([^|]*)|(.*)$')
  if owner ~= ws or not string.find(which, state or '-', 1, true) then
    left = left + 1
  elseif holder and holder ~= '' then
    flying_now = flying_now + 1
  elseif state == 'p' or state == 'r' then
    -- It is open as it is; only its turn comes sooner.
    if how == 'now' then wait_for(event, seq) else left = left + 1 end
  else
    redis.call('HSET', key, ep, 'r|0||' .. (log or ''))
    redis.call('HINCRBY', key, 'open', 1)
    redis.call('ZADD', K.OPEN_EVENTS, 'NX', now, event)
    wait_for(event, seq)
  end
end
place(ws, ep, now, s)
return {revived, flying_now, left}
