-- Keep of an event what says nothing, and of its deliveries no answer.
-- ARGV     event, workspace, document, and what is told of the event besides it: its label
-- returns  1 done · 0 there is no such event
local key = K.event(ARGV[1])
if redis.call('HGET', key, 'ws') ~= ARGV[2] then return 0 end
local gone = {}
for _, name in ipairs(redis.call('HKEYS', key)) do
  if string.find(name, '^first:') or string.find(name, '^last:') then gone[#gone + 1] = name end
end
for i = 1, #gone, 1000 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 999, #gone))) end
redis.call('HSET', key, 'doc', ARGV[3], 'label', ARGV[4])
return 1
