package job

import "github.com/optml/optml/human"

// form is what a pattern says, for people who do not read it: what it is a pattern of, and what that may have in it.
type form struct{ words, of string }

const ofName = "letters, digits and hyphens, which stand neither first nor last"

// forms are those of the table's patterns; a test holds that each has one.
var forms = map[string]form{
	`([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`:          {"a tag's text", "letters, digits, spaces and _ . : / = + - @"},
	`([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,128}`: {"a property's name", "letters, digits, spaces and _ . : / = + - @"},
	`([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,256}`: {"a property's value", "letters, digits, spaces and _ . : / = + - @"},
	`(arn:[a-z0-9-\.]{1,63}:sagemaker:\w+(?:-\w+)+:(\d{12}|aws):hub-content\/)[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\/DataSet\/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}(\/\d{1,4}.\d{1,4}.\d{1,4})?`: {"the ARN of a hub's data set", "arn:aws:sagemaker:REGION:ACCOUNT:hub-content/HUB/DataSet/NAME"},
	`(arn:[a-z0-9-\.]{1,63}:sagemaker:\w+(?:-\w+)+:(\d{12}|aws):hub-content\/)[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\/Model\/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,63}(\/\d{1,4}.\d{1,4}.\d{1,4})?`:   {"the ARN of a hub's model", "arn:aws:sagemaker:REGION:ACCOUNT:hub-content/HUB/Model/NAME"},
	`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)`:                                                                             {"a name or an ARN", "my-name, or arn:aws:sagemaker:REGION:ACCOUNT:KIND/my-name; a name has " + ofName},
	`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)(\/[0-9]{1,9})?`:                                                              {"a name or an ARN, with a version or without", "my-name, my-name/3, or arn:aws:sagemaker:REGION:ACCOUNT:KIND/my-name"},
	`(fs-[0-9a-f]{8,})`:                       {"a file system's id", "fs- and at least 8 hexadecimal digits"},
	`(https|s3)://([^/]+)/?(.*)`:              {"an s3:// or https:// address", "s3://BUCKET/KEY"},
	`.*`:                                      {"one line", "without a line break"},
	`.+`:                                      {"one line", "not empty, without a line break"},
	`.{0,1024}`:                               {"one line of at most 1024 characters", ""},
	`/(?!.*\.\.)[a-zA-Z0-9/_.\-]+`:            {"a path", "letters, digits and / _ . - after a slash, without two points in a row"},
	`[-0-9a-zA-Z]+`:                           {"an id", "letters, digits and hyphens"},
	`[-\w]+\/.+`:                              {"a media type", "such as text/csv"},
	`[0-9]\.[A-Za-z0-9.-]+`:                   {"a version", "such as 1.2"},
	`[A-Za-z0-9\.\-_]+`:                       {"a channel's name", "letters, digits and . - _"},
	`[Ss][Hh][Aa]256:[0-9a-fA-F]{64}`:         {"a digest", "sha256: and 64 hexadecimal digits"},
	`[\S\s]*`:                                 {"a text", ""},
	`[\S\s]+`:                                 {"a text", "not empty"},
	`[\S]+`:                                   {"an image's name", "such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/my-image:1, without spaces"},
	`[\p{L}\p{M}\p{Z}\p{N}\p{P}]{0,1024}`:     {"a text of at most 1024 letters, digits, spaces and punctuation", ""},
	`[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]*`:       {"a text of letters, digits, spaces, symbols and punctuation", "without a line break or another control character"},
	`[a-zA-Z0-9-]+`:                           {"a token", "letters, digits and hyphens"},
	`[a-zA-Z0-9:/_-]*`:                        {"a KMS key", "its id, its ARN or its alias"},
	`[a-zA-Z0-9](-*[a-zA-Z0-9])*`:             {"an id", ofName},
	`[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}`:       {"a name of at most 120 characters", ofName},
	`[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`:        {"a name of 1 to 63 characters", ofName},
	`[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?`: {"a model's name", ofName},
	`[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*`:            {"a version's name", ofName + ", and not two in a row"},
	`[a-zA-Z_][a-zA-Z0-9_]*`:                  {"a variable's name", "letters, digits and underscores, no digit first"},
	`[a-zA-Z_][a-zA-Z0-9_]{0,1023}`:           {"a variable's name", "letters, digits and underscores, no digit first, at most 1024"},
	`\d+K`:                                    {"a length", "such as 8K"},
	`\d{1,4}.\d{1,4}.\d{1,4}`:                 {"a version", "such as 1.2.3"},
	`arn:[\p{Alnum}\-]+:lambda:[\p{Alnum}\-]+:[0-9]{12}:function:.*`:                        {"a Lambda function's ARN", "arn:aws:lambda:REGION:ACCOUNT:function:NAME"},
	`arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`:                              {"a role's ARN", "arn:aws:iam::ACCOUNT:role/NAME, the account in 12 digits"},
	`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:mlflow-[a-zA-Z-]*/.*`:                  {"an MLflow resource's ARN", "arn:aws:sagemaker:REGION:ACCOUNT:mlflow-app/NAME"},
	`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:training-plan/.*`:                      {"a training plan's ARN", "arn:aws:sagemaker:REGION:ACCOUNT:training-plan/NAME"},
	`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package-group/[\S]{1,2048}`: {"a model package group's ARN", "arn:aws:sagemaker:REGION:ACCOUNT:model-package-group/NAME"},
	`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package/[\S]{1,2048}`:       {"a model package's ARN", "arn:aws:sagemaker:REGION:ACCOUNT:model-package/NAME"},
}

// form is the pattern in words.
func (s *shape) form() string {
	switch f := forms[s.Pattern]; {
	case f.of != "":
		return f.words + " (" + f.of + ")"
	case f.words != "":
		return f.words
	}
	return "of the form " + human.Clip(s.Pattern, 120)
}
