-- Gives an unanswered request back with another salt and beginning. ARGV: run, salt, when it began.
local r = redis.call('HMGET', KEYS[1], 'run', 'done')
if r[1] == ARGV[1] and not r[2] then
    redis.call('HSET', KEYS[1], 'salt', ARGV[2], 'began', ARGV[3], 'lease', '0')
end
return true
