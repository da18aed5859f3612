-- Deliveries that nobody wants any more: those that wait for an endpoint, the first first.
-- ARGV     endpoint, how many, and until when their events happened in ms ('+inf': all)
-- returns  how many were taken away; fewer than asked for: no more are there
local ep, count, before = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local taken, closed = 0, {}

-- Whether it waits no more: what is under way stands in an ordered endpoint's line until its outcome.
local function cancel(event)
  local key = K.event(event)
  local attempts, holder, log = string.match(redis.call('HGET', key, ep) or '', '^[pr]|(%d+)|([^|]*)|(.*)$')
  if not attempts then return true end
  if holder ~= '' then return false end
  redis.call('HSET', key, ep, 'c|' .. attempts .. '||' .. log)
  if log ~= '' then redis.call('HDEL', key, 'first:' .. ep, 'last:' .. ep) end
  if redis.call('HINCRBY', key, 'open', -1) <= 0 then closed[#closed + 1] = event end
  return true
end

-- What is in no index just now is not known to be old.
local function old_enough(event)
  return before == '+inf' or tonumber(redis.call('ZSCORE', K.OPEN_EVENTS, event) or 'inf') <= tonumber(before)
end

for _, list in ipairs({K.wait(ep), K.late(ep), K.line(ep)}) do
  local gone = {}
  for _, event in ipairs(redis.call('ZRANGE', list, 0, count - taken - 1)) do
    if old_enough(event) and cancel(event) then gone[#gone + 1] = event end
  end
  if #gone > 0 then
    redis.call('ZREM', list, unpack(gone))
    -- Until when the first in line was to wait is nothing to the next.
    if list == K.line(ep) then redis.call('HDEL', K.endpoint(ep), 'next') end
  end
  taken = taken + #gone
  if taken >= count then break end
end
if #closed > 0 then redis.call('ZREM', K.OPEN_EVENTS, unpack(closed)) end
return taken
