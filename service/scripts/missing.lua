-- How many unfinished jobs are in none of the places that one has to be in: to wait, to be at the vendor, to be uncertain.
-- returns  that number; less than 0 when something is in a place that it should have left
local places = redis.call('ZCARD', K.WINDOW) + redis.call('ZCARD', K.LATER) + redis.call('ZCARD', K.UNCERTAIN)
for _, ws in ipairs(redis.call('ZRANGE', K.WAITING, 0, -1)) do
  places = places + redis.call('ZCARD', K.waiting(ws))
end
return redis.call('ZCARD', K.OPEN_JOBS) - places
