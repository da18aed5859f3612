-- Count the attempts under way anew from the claims themselves.
-- ARGV     workspace...
-- returns  how many counts were wrong
local counts, wrong, now = {}, 0, clock()
-- No attempt takes as long as this: whose claim is not there any more, with its event say, is not under way.
local LONGEST, AT_ONCE = 600000, 500

for _, pair in ipairs(redis.call('ZRANGE', K.FLIGHT, '-inf', now - LONGEST, 'BYSCORE', 'LIMIT', 0, AT_ONCE)) do
  local event, ep = string.match(pair, '^(%S+) (%S+)$')
  local holder = string.match(redis.call('HGET', K.event(event), ep) or '', '^%a|%d+|([^|]+)|')
  if not holder then redis.call('ZREM', K.FLIGHT, pair) end
end

for _, pair in ipairs(redis.call('ZRANGE', K.FLIGHT, 0, -1)) do
  local event, ep = string.match(pair, '^(%S+) (%S+)$')
  local count = counts[ep] or {n = 0, event = event}
  count.n = count.n + 1
  counts[ep] = count
end

local function correct(ws, ep, count)
  local key = K.running(ws)
  wrong = wrong + 1
  if count == 0 then redis.call('HDEL', key, ep) else redis.call('HSET', key, ep, count) end
  place(ws, ep, now)
end

for _, ws in ipairs(ARGV) do
  local words = redis.call('HGETALL', K.running(ws))
  for i = 1, #words, 2 do
    local ep = words[i]
    local count = counts[ep] and counts[ep].n or 0
    if tonumber(words[i + 1]) ~= count then correct(ws, ep, count) end
    counts[ep] = nil
  end
end
-- Those that are not counted at all.
for ep, count in pairs(counts) do
  local ws = redis.call('HGET', K.event(count.event), 'ws')
  if ws then correct(ws, ep, count.n) end
end
return wrong
