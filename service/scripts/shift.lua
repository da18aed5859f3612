-- Take back a jump of the store's clock, unless another clock process has done so.
-- ARGV     the shift as it was read, the shift as it should be
-- returns  1 done · 0 it was changed meanwhile
if (redis.call('HGET', K.SERVICE, 'shift') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', K.SERVICE, 'shift', ARGV[2])
return 1
