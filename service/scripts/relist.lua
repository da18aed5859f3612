-- Put a record that has not moved since it was read back into its lists.
-- KEYS[1]  the record
-- ARGV     its revision, then zset, score, member of each list
-- returns  how many of them had lost it
if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[1] then return 0 end
local put = 0
for i = 2, #ARGV, 3 do put = put + redis.call('ZADD', ARGV[i], 'NX', ARGV[i + 1], ARGV[i + 2]) end
return put
